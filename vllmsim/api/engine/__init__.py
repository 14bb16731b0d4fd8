"""The messages of ``vllm.grpc.engine.VllmEngine``, read and written; who imports this has smg-grpc-proto."""
