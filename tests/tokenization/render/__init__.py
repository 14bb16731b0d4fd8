"""Tests of tokenizers: The tokenizer of a render service."""
