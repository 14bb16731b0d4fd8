"""Tests of what stands between clients and routes."""
