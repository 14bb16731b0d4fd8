"""Tests of ``vllmsim-dataset``."""
