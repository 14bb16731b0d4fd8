"""Scenarios: what happens to a server in the course of time, as a file or a request says it."""
