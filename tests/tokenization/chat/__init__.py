"""Tests of tokenizers: Chat templates: conversations to text."""
