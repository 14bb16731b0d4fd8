"""Tests of what a rank is put together from."""
