"""Vectors, classes and scores."""
