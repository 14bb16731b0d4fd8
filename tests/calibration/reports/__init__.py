"""Tests of what reads reports."""
