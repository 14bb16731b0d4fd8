"""Tests of step times."""
