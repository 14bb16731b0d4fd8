"""Tests of the benchmark: what it concludes, not how fast anything is."""
