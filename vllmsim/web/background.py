# -*- test-case-name: tests.web.test_responses -*-
"""Responses that are made whether or not anybody waits for them."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vllmsim.api.errorbody import internal_error
from vllmsim.api.responses.answer import Keep
from vllmsim.api.responses.store import StoredResponse
from vllmsim.api.responses.stream import ResponseStream
from vllmsim.errors import InferenceError
from vllmsim.inference import Answer, Prefill, TokenizedPrompt
from vllmsim.interfaces import ITokenSink
from vllmsim.records import RequestRecord


@implementer(ITokenSink)
class BackgroundResponse:
    """One response in the making.

    :param make_writer: makes its writer.
    :param keep: takes the response when it has come to its end.
    :param recorded: whether its events are kept, for clients that want to see them.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self, make_writer: Callable[[Keep], ResponseStream], keep: Keep, *, recorded: bool) -> None:
        self._writer = make_writer(self._take)
        self._keep = keep
        self._stored: StoredResponse | None = None
        self._served: Deferred[None] | None = None
        self._record: RequestRecord | None = None
        self._waiting: list[Deferred[None]] = []
        self.events: list[bytes] | None = [] if recorded else None
        """Its events so far, each with its blank line."""
        self.ended = False
        self.refusal: InferenceError | None = None
        """Why it never began."""

    def start(self, served: Deferred[None], record: RequestRecord | None = None) -> None:
        """Learn that the simulator has the request.

        :param served: what it returned. One that has failed already is a refusal: then nothing is kept.
        :param record: is told what goes wrong.
        """
        self._record = record
        served.addCallback(self._complete).addErrback(self._fail)
        served.addErrback(lambda reason: self._log.failure("While ending a response", reason))
        self._served = served

    def _take(self, stored: StoredResponse) -> None:
        self._stored = stored

    def started(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> None:
        """Write what comes before the first token."""
        self._write(self._writer.opening(prompts, prefill))

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Write a run of tokens."""
        self._write(self._writer.tokens(choice, answer, start, stop))

    def _complete(self, _: None) -> None:
        self._end(self._writer.closing())

    def _fail(self, reason: Failure) -> None:
        if self.ended:
            return
        if isinstance(reason.value, InferenceError):
            error = reason.value
        else:
            self._log.failure("While making a response in the background", reason)
            error = internal_error()
        if self._record is not None:
            self._record.fails(error)
        if self._served is None:
            self.refusal = error
        else:
            self._end(self._writer.failure(error))

    def cancel(self) -> bytes:
        """Make an end of it.

        :return: the response object.
        """
        assert self._served is not None
        if self._record is not None:
            self._record.aborted = True
        self._end(self._writer.cancel())
        self._served.cancel()
        return self.body

    def _end(self, data: bytes) -> None:
        self.ended = True
        assert self._stored is not None
        self._write(data)
        self._keep(evolve(self._stored, events=self.events))

    def _write(self, data: bytes) -> None:
        if self.events is not None:
            self.events += [event + b"\n\n" for event in data.split(b"\n\n")[:-1]]
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    @property
    def body(self) -> bytes:
        """The response object as it is now."""
        return self._writer.snapshot() if self._stored is None else self._stored.body

    def progress(self) -> Deferred[None]:
        """Wait for the next event.

        :return: fires when there is one, or the last has been. Cancelling it waits no more.
        """
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter
