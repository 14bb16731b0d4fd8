# -*- test-case-name: tests.test_shared -*-
"""What the ranks of one process have in common: the tokenizer, and what says answers."""

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from vllmsim.config.schema import Configuration
from vllmsim.dataset.echo import EchoSource
from vllmsim.dataset.encoder import EncoderSource
from vllmsim.dataset.sentences import SentenceSource
from vllmsim.interfaces import IResponseSource, ITokenizer
from vllmsim.tokenization.words import WordTokenizer


@define(eq=False)
class Shared:
    """What is made once for all ranks.

    :param source: says what answers say.
    :param sentences: says anything, such as reasoning.
    """

    tokenizer: ITokenizer
    source: IResponseSource
    sentences: IResponseSource

    async def close(self) -> None:
        """Give back what was opened, when the last rank has stopped."""


def build_shared(configuration: Configuration, defer_to_thread: Callable[..., Deferred[Any]]) -> Shared:
    """Make what ranks share.

    :param defer_to_thread: runs a function off the reactor.
    """
    tokenizer: ITokenizer = WordTokenizer(defer_to_thread)
    sentences = SentenceSource(tokenizer)
    source: IResponseSource = sentences
    if configuration.mm_encoder_only:
        source = EncoderSource(tokenizer)
    elif configuration.mode == "echo":
        source = EchoSource(tokenizer)
    return Shared(tokenizer, source, sentences)
