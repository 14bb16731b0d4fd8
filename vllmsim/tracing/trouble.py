# -*- test-case-name: tests.tracing.test_trouble -*-
"""Says in the log, once a minute at most, that spans do not get to their collector, and how many are lost.

OpenTelemetry says what goes wrong through the logging of Python's library, from its own threads, a line or a traceback
for each attempt. Here that is one line for all.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import unquote

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

INTERVAL: Final = 60.0
"""Seconds between one line and the next."""
SOON: Final = 1.0
"""Seconds that the first line waits, so that it can say what was lost."""
_LONGEST: Final = 500
_SHORTEST: Final = 4
"""What is shorter is no secret, and would be found in every other word."""
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")


@define(eq=False)
class Trouble:
    """What goes wrong with a collector. All is told in the reactor's thread.

    :param place: what the log calls the collector.
    """

    _log: ClassVar[Logger] = Logger()

    _place: str
    _clock: IReactorTime
    lost: int = field(init=False, default=0)
    """How many spans never got there."""
    _reason: str = field(init=False, default="")
    _told: bool = field(init=False, default=False)
    _next: float = field(init=False, default=0.0)
    _timer: IDelayedCall | None = field(init=False, default=None)
    _stopped: bool = field(init=False, default=False)

    def heard(self, reason: str) -> None:
        """Learn that OpenTelemetry complains."""
        self._reason = reason
        self._plan()

    def exported(self, lost: int) -> None:
        """Learn what became of some spans.

        :param lost: how many of them are lost; 0 means that the collector took them.
        """
        if lost:
            self.lost += lost
            self._plan()
        elif self._told:
            self._told = False
            self._log.warn("Traces get to {place} again; {lost} spans are lost.", place=self._place, lost=self.lost)

    def dropped(self, count: int) -> None:
        """Learn that spans found the queue full."""
        self.lost += count
        self._reason = self._reason or "it takes them more slowly than they are made"
        self._plan()

    def stop(self) -> None:
        """Say what is not said yet, and then nothing more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._tell()

    def _plan(self) -> None:
        if self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(max(SOON, self._next - self._clock.seconds()), self._tell)

    def _tell(self) -> None:
        self._timer, self._told, self._next = None, bool(self.lost), self._clock.seconds() + INTERVAL
        reason = self._reason or "the collector does not take them"
        if self.lost:
            text = "Traces do not all get to {place}, and {lost} spans are lost so far: {reason}"
            self._log.warn(text, place=self._place, lost=self.lost, reason=reason)
        else:
            self._log.warn("While traces go to {place}: {reason}", place=self._place, reason=reason)


def secret_headers(environ: Mapping[str, str]) -> list[str]:
    """List what the environment has sent along as headers, where keys are; also where that is written wrong.

    :return: the longest first.
    """
    pieces = [piece.strip() for name in _HEADERS for piece in environ.get(name, "").split(",")]
    values = [piece.partition("=")[2].strip() for piece in pieces]
    told = {*pieces, *values, *map(unquote, values)}
    return sorted((each for each in told if len(each) >= _SHORTEST), key=len, reverse=True)


class Complaints(logging.Handler):
    """Takes what OpenTelemetry says to the logging of Python's library, in any thread.

    :param heard: is told each as one line.
    :param secrets: what is not to be told, the longest first.
    """

    def __init__(self, heard: Callable[[str], Any], secrets: Sequence[str] = ()) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard
        self._secrets = secrets
        self._logger = logging.getLogger("opentelemetry")

    def begin(self) -> None:
        """Be the only one who is told."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def end(self) -> None:
        """Leave it as it was."""
        self._logger.removeHandler(self)
        self._logger.propagate = not self._logger.handlers

    def emit(self, record: logging.LogRecord) -> None:
        """Take a complaint."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" {record.exc_info[1]!r}"
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        self._heard(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
