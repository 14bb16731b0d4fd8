"""Limericks, and times with a long tail."""
