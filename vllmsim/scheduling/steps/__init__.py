"""The engine that batches: steps, each with its tokens, its blocks and its time."""
