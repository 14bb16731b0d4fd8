"""Tests of how scenarios are played."""
