"""Tests of ``vllmsim bench clock``."""
