# -*- test-case-name: tests.scheduling.test_generation -*-
"""What stands in for the model."""

from collections.abc import Callable

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from vllmsim.interfaces import IAdapterMetrics, IKVCache, IRankMetrics, ITokenizer
from vllmsim.scheduling.pacing import TokenPacer


@frozen(eq=False)
class Model:
    """Everything a sequence needs to generate.

    :param running: how many sequences run now.
    """

    clock: IReactorTime
    tokenizer: ITokenizer
    cache: IKVCache
    pacer: TokenPacer
    metrics: IRankMetrics
    adapters: IAdapterMetrics
    running: Callable[[], int]
