# -*- test-case-name: tests.assembly.test_composing -*-
"""What composes the answers of a rank, made: in its own tokens, and in others where a client has only those."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from vllmsim.assembly.manners import habits
from vllmsim.assembly.shared import Shared
from vllmsim.clocks.standstill import Standstill
from vllmsim.composing.composer import Composer
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IRankMetrics, IResponseSource, ITokenizer


def make_composer(
    configuration: Configuration,
    shared: Shared,
    metrics: IRankMetrics,
    defer_to_thread: Callable[..., Deferred[Any]],
    standstill: Standstill,
) -> Composer:
    """Make it.

    :param shared: what the rank has in common with others.
    :param defer_to_thread: runs a function off the reactor.
    :param standstill: hears of answers that are being composed.
    """

    def answers(source: IResponseSource, tokenizer: ITokenizer, *, foreign: bool) -> IResponseSource:
        datasets = shared.datasets
        return source if datasets is None else datasets.answers(source, tokenizer, metrics, foreign=foreign)

    def sources(tokenizer: ITokenizer) -> tuple[IResponseSource, IResponseSource]:
        source, thoughts = shared.sources(tokenizer)
        return answers(source, tokenizer, foreign=True), thoughts

    return Composer(
        source=answers(shared.source, shared.tokenizer, foreign=False),
        thoughts=shared.sentences,
        tokenizer=shared.tokenizer,
        defer_to_thread=defer_to_thread,
        habits=habits(configuration),
        sources=sources,
        standstill=standstill,
    )
