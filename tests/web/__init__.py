"""Tests of delivery over HTTP."""
