"""Tests that run the daemon as a process."""
