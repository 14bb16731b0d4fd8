"""Delivery over gRPC: calls are requests over HTTP/2 whose bodies are messages, and whose status comes last."""
