"""The messages of ``vllm.Control``, read and written; who imports this has protobuf."""
