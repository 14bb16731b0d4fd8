"""Tests of vllmsim.clocks."""
