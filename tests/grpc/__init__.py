"""Tests of delivery over gRPC."""
