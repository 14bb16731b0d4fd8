"""Tests of the console scripts."""
