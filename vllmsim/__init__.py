"""vllmsim: a Twisted daemon that answers as a vLLM inference server would, without a model or a GPU."""

__version__ = "0.1.0"

VLLM_VERSION = "0.33.0"
"""The vLLM release whose behaviour is simulated."""
