"""Tests of :mod:`vllmsim.tls`."""
