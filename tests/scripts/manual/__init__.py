"""Tests of the manual and of completion."""
