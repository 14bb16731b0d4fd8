"""Tests of the dialects: What vLLM's front-end in Rust says over gRPC."""
