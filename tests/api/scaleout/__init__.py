"""Tests of the dialects: What servers that share the work of an answer say to each other."""
