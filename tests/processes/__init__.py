"""Tests of :mod:`vllmsim.processes`."""
