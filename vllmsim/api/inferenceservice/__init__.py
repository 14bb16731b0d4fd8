"""The messages of ``vllm.Inference``, read and written; who imports this has protobuf."""
