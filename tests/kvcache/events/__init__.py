"""Tests of KV events."""
