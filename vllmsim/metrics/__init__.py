"""Prometheus metrics: what happened on a rank, under vLLM's names."""
