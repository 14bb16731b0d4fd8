"""Tests of the response sources."""
