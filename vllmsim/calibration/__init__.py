"""Finds the coefficients of a step's time in what a benchmark has measured."""
