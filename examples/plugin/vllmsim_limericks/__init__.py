"""Limericks, times with a long tail, and padded steps."""
