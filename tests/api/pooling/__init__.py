"""Tests of the dialects: Vectors, classes and scores."""
