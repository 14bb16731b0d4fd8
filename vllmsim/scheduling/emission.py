# -*- test-case-name: tests.scheduling.test_generation -*-
"""The tokens of one answer on their way to its sink, and who hears that they leave. When they do is said by others."""

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from vllmsim.inference import Answer, Prefill
from vllmsim.scheduling.fetching import Fetch
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.sequence import Sequence


@define(eq=False)
class Emission:
    """The tokens of one answer on their way out.

    :param fetch: the transfer of the prompt's blocks, if they come from another server.
    """

    _model: Model
    _sequence: Sequence
    _answer: Answer
    _fetch: Fetch | None
    sent: int = field(init=False, default=0)
    """How many tokens have been delivered."""
    first_emission: float = field(init=False, default=0.0)
    last_emission: float = field(init=False, default=0.0)
    finished: Deferred[None] = field(init=False)
    """Fires after the last token; cancelling it stops the rest, and a sink may do so while it takes a token."""

    @finished.default
    def _make_finished(self) -> Deferred[None]:
        return Deferred(lambda _: self._give_up())

    @property
    def answer(self) -> Answer:
        """The whole answer."""
        return self._answer

    @property
    def said(self) -> Answer:
        """What has been delivered, as the answer of a sequence that is aborted."""
        return self._answer.aborted(self.sent)

    def prefilled(self, prefill: Prefill) -> None:
        """Learn how the prompt was computed, before any token is delivered."""
        self._answer = self._answer.prefilled(prefill)

    def deliver(self, stop: int, time: float) -> None:
        """Deliver the tokens up to one, of which the first are due for the first time.

        :param stop: how many will have been delivered then.
        :param time: the time, by the rank's clock.
        """
        start, sequence = self.sent, self._sequence
        self.sent = stop
        if start:
            self._model.metrics.tokens_emitted(stop - start, time - self.last_emission)
        else:
            self._begin(stop, time)
        self.last_emission = time
        if not self.finished.called:
            sequence.submission.sink.tokens(sequence.choice, self._answer, start, stop)

    def fail(self, reason: Failure) -> None:
        """End the sequence: delivering a token failed."""
        if not self.finished.called:
            self.finished.errback(reason)

    def _begin(self, stop: int, time: float) -> None:
        """Tell who wants to know that the first token leaves, if there is one."""
        model, sequence, prefill = self._model, self._sequence, self._answer.prefill
        if self._fetch is not None:
            self._fetch.finish()
        if not self._answer.refused:
            model.metrics.prefill_finished(prefill, time - sequence.arrived)
            if sequence.submission.record.first_token is None:
                sequence.submission.record.first_token = time
        model.metrics.tokens_emitted(stop, None)
        self.first_emission = time
        sequence.moves("decode", time)
        sequence.begin(prefill)

    def _give_up(self) -> None:
        """Deliver no more."""
