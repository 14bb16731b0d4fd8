"""Tests of how scenarios are read."""
