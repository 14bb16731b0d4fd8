"""Tests for :mod:`vllmsim.api.engine`."""
