# -*- test-case-name: tests.api.engine.test_logprobs -*-
"""Log probabilities in messages of ``VllmEngine``: those of :mod:`vllmsim.api.logprobs`, with token ids alone.

A message has one list of the tokens' own log probabilities, one of their ids, and, where alternatives are asked for,
one of the alternatives of each, the token among them. The first token of a prompt has neither. Where all alternatives
are asked for (-1) vLLM's server shows a list for each token, and nothing in it.
"""

from collections.abc import Sequence
from typing import Final

from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.api.logprobs import alternatives, logprob
from vllmsim.inference import Answer

_PERIOD: Final = 3
"""After so many tokens, log probabilities begin anew."""
_IDS: Final = 0xFFFFFFFF
"""Ids have 32 bits; the alternatives of the last are the first."""


class Probabilities:
    """Shows log probabilities of tokens.

    :param count: how many alternatives are shown, the token itself included; -1 for all, of which none is.
    """

    def __init__(self, count: int) -> None:
        self._lists = bool(count)
        """Whether there are lists of alternatives."""
        self._ranks = (0, *alternatives(count)) if count > 0 else ()
        self._values = [[logprob(position, rank) for rank in self._ranks] for position in range(_PERIOD)]

    def _top(self, position: int, token: int) -> pb.TopLogProbs:
        return pb.TopLogProbs(
            values=self._values[position % _PERIOD], token_ids=[token + rank & _IDS for rank in self._ranks]
        )

    def output(self, answer: Answer, start: int, stop: int) -> pb.OutputLogProbs | None:
        """Show some tokens of an answer; None where there are none."""
        if start == stop:
            return None
        shown = pb.OutputLogProbs(
            token_logprobs=[logprob(position, 0) for position in range(start, stop)], token_ids=answer.ids[start:stop]
        )
        if self._lists:
            shown.top_logprobs.extend(self._top(position, answer.ids[position]) for position in range(start, stop))
        return shown

    def input(self, ids: Sequence[int]) -> pb.InputLogProbs:
        """Show the tokens of a prompt, of which there is at least one."""
        shown = pb.InputLogProbs(token_ids=ids)
        shown.token_logprobs.add()
        shown.token_logprobs.extend(pb.InputTokenLogProb(value=logprob(position, 0)) for position in range(1, len(ids)))
        if self._lists:
            shown.top_logprobs.add()
            shown.top_logprobs.extend(self._top(position, ids[position]) for position in range(1, len(ids)))
        return shown


class Given:
    """The log probabilities of a prompt, which each of its answers shows.

    To write them takes some microseconds per token: who has no such time calls :meth:`write` elsewhere first.

    :param count: how many alternatives are shown, as :class:`Probabilities` has it.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._written: bytes | None = None

    def write(self, ids: Sequence[int]) -> bytes:
        """Write the message, once.

        :param ids: the prompt's tokens, at least one; the same each time.
        """
        if self._written is None:
            self._written = Probabilities(self._count).input(ids).SerializeToString()
        return self._written
