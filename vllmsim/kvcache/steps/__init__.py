"""The KV cache of an engine that goes in steps: sequences take blocks as they go, and may lose them again."""
