"""Requests for tests of ranks."""

from vllmsim.inference import InferenceRequest, TextPrompt
from vllmsim.sampling import Sampling

OWN = object()
"""How the requests of one rank are served."""
OTHER = object()
"""How those of another are."""


def asking(name: str, rank: int | None = None, model: str = "m") -> InferenceRequest:
    """Make a request that may name a rank."""
    return InferenceRequest(name, True, model, (TextPrompt("hello"),), Sampling(), rank=rank, behaviour=OWN)
