"""Tests of vllmsim, in the rooms of what they test."""
