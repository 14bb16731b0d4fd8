# -*- test-case-name: tests.scripts.dataset.test_progress -*-
"""How far the work is: a bar where somebody watches, and a line now and then in a log."""

from collections.abc import Callable
from typing import Final, TextIO

from attrs import define, field

_WIDTH: Final = 30
_GLANCE: Final = 0.2
"""Seconds between two looks of the bar."""
_LINE: Final = 5.0
"""Seconds between two lines."""


@define(eq=False)
class Progress:
    """Tells of the work.

    :param stream: where to.
    :param now: the time in seconds, of any clock.
    :param total: how many bytes there are to read, if that is known.
    """

    _stream: TextIO
    _now: Callable[[], float]
    total: int | None = None
    _begun: float = field(init=False)
    _told: float = field(init=False)
    _shown: bool = field(init=False)
    _bar: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._begun = self._told = self._now()
        self._shown = self._stream.isatty()

    @property
    def seconds(self) -> float:
        """How long the work has been going on."""
        return self._now() - self._begun

    def advance(self, position: int, records: int) -> None:
        """Learn how far it is.

        :param position: bytes that have been read.
        """
        now = self._now()
        if now - self._told < (_GLANCE if self._shown else _LINE):
            return
        self._told = now
        rate = records / max(now - self._begun, 1e-9)
        text = f"{records} records, {rate:.0f}/s"
        if self.total:
            share = min(1.0, position / self.total)
            text = f"{share:4.0%} of the input, {text}"
            if self._shown:
                done = int(share * _WIDTH)
                text = f"[{'#' * done}{'.' * (_WIDTH - done)}] {text}"
        self._stream.write(f"\r\x1b[K{text}" if self._shown else f"{text}\n")
        self._stream.flush()
        self._bar = self._shown

    def say(self, text: str) -> None:
        """Write a line, in the place of the bar if there is one."""
        self.clear()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._bar = False
