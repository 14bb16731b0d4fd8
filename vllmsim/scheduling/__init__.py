"""Scheduling: which sequence runs, and when its next token is due."""
