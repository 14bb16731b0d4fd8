"""Tests of ``vllmsim calibrate``."""
