"""Tests of the cache outside."""
