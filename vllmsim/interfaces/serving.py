# -*- test-case-name: tests.test_interfaces -*-
"""What requests go through, and what their answers go to."""

from collections.abc import Awaitable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from vllmsim.inference import Answer, Cut, InferenceRequest, Prefill, Prompt, TokenizedPrompt
from vllmsim.pooling import Pooled, PoolingRequest
from vllmsim.records import RequestRecord
from vllmsim.sampling import Sampling


class ITokenSink(Interface):
    """Takes one request's tokens as they become due. Called on the reactor thread, from the pacer's tick.

    An exception from any method fails the request, and no other.
    """

    def started(prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> None:
        """Learn that the first token is due. Called once, before any `tokens`.

        :param prompts: the request's prompts, in order.
        :param prefill: how the prompt of the choice that begins was computed.
        """

    def tokens(choice: int, answer: Answer, start: int, stop: int) -> None:
        """Deliver the tokens `start` to `stop` of a choice.

        Runs of one choice come in order and without gaps; runs of several choices interleave. When `stop` is
        ``len(answer)`` the choice is complete and ``answer.finish_reason`` holds. A choice that is aborted ends with a
        run of no tokens and an answer of just those that were delivered before, which may be none.

        :param choice: which choice, from 0.
        :param answer: the same object at each call for one choice, but for the end of one that is aborted.
        """


class ISimulator(Interface):
    """One data-parallel rank, seen from the delivery side: the only door in."""

    def submit(request: InferenceRequest, sink: ITokenSink, record: RequestRecord | None = None) -> Deferred[None]:
        """Serve a request.

        :param record: is told what becomes of it.
        :return: fires when the last token of every choice has been delivered. Its errback is an
            :class:`vllmsim.errors.InferenceError` for what the client should be told; the sink may have been
            started by then. Cancelling it frees every slot and queue place at once, and the sink hears no more.
        """


class IPooler(Interface):
    """One data-parallel rank, seen by those who want vectors and scores."""

    def pool(request: PoolingRequest, record: RequestRecord | None = None) -> Deferred[Sequence[Pooled]]:
        """Serve a request.

        :param record: is told what becomes of it.
        :return: fires with what became of each input, or of each pair when the task is ``score``. Its errback is an
            :class:`vllmsim.errors.InferenceError` for what the client should be told. Cancelling it frees every slot
            and queue place at once.
        """


class IAdmission(Interface):
    """What happens to a request before it may wait, for those who want to know and not to wait."""

    def read(prompts: Sequence[Prompt], cut: Cut | None) -> Awaitable[Sequence[TokenizedPrompt]]:
        """Tokenize prompts, letting other events in between.

        :param cut: how each is shortened first; fewer than no tokens mean as many as the context holds.
        :return: one for each; awaiting it raises :class:`vllmsim.errors.InvalidRequest` when one is longer than the
            context, or has a token id that is none.
        """

    def bound(prompt: TokenizedPrompt, sampling: Sampling) -> Sampling:
        """Settle how long an answer to a prompt may be, and check everything else.

        :return: the same parameters with `max_tokens` as the context and the request allow, at least 1.
        :raises vllmsim.errors.InvalidRequest: for the first parameter out of range.
        """
