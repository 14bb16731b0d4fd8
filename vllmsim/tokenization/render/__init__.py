"""The tokenizer of a render service."""
