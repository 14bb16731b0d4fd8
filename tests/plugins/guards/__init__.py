"""Tests of what stands before plugins."""
