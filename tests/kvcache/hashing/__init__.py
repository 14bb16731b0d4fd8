"""Tests of block hashes."""
