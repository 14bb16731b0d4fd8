"""Tests of the dialects: OpenAI's Responses."""
