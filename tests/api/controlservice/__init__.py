"""Tests of the dialects: How a server is operated over gRPC."""
