"""Tests of the dialects: Anthropic's Messages."""
