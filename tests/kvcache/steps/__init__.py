"""Tests of the KV cache of an engine that goes in steps."""
