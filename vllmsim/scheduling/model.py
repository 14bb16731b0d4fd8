# -*- test-case-name: tests.scheduling.test_generation -*-
"""What stands in for the model."""

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from vllmsim.interfaces import IAdapterMetrics, IEngineTrace, IRankMetrics, ITokenizer
from vllmsim.scheduling.pacing import TokenPacer


@frozen(eq=False)
class Model:
    """Everything a sequence needs to generate, whatever says when its tokens are due.

    :param trace: what the engine does is written down there, if that is wanted.
    """

    clock: IReactorTime
    tokenizer: ITokenizer
    pacer: TokenPacer
    metrics: IRankMetrics
    adapters: IAdapterMetrics
    trace: IEngineTrace | None = None
