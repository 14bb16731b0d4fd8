# -*- test-case-name: tests.downloading.test_progress -*-
"""How far a download is, in lines of the log: every 5 seconds or 10 %, whichever comes first."""

from typing import ClassVar, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_INTERVAL: Final = 5.0
_STEPS: Final = 10
_UNIT: Final = 1000
_HUNDRED: Final = 100


def describe_bytes(count: float) -> str:
    """Write a number of bytes in a unit that suits it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < _UNIT:
            return f"{count:.0f} {unit}" if count >= _HUNDRED or unit == "bytes" else f"{count:.3g} {unit}"
        count /= _UNIT
    return f"{count:.3g} TB"


@define(eq=False)
class Progress:
    """Tells about one download.

    :param name: how lines call the file.
    :param done: bytes that were there at the start.
    :param total: bytes of the whole file, if they are known.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _name: str
    _done: int
    _total: int | None
    _began: float = field(init=False)
    _told: float = field(init=False)
    _step: int = field(init=False)
    _first: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self._told = self._clock.seconds()
        self._first, self._step = self._done, self._steps()

    def _steps(self) -> int:
        return self._done * _STEPS // self._total if self._total else 0

    def advance(self, count: int) -> None:
        """Learn that bytes have come."""
        self._done += count
        now = self._clock.seconds()
        if now - self._told < _INTERVAL and self._steps() == self._step:
            return
        self._told, self._step = now, self._steps()
        taken = now - self._began
        self._log.info(
            "{name}: {done}{total}{rate}.",
            name=self._name,
            done=describe_bytes(self._done),
            total=f" of {describe_bytes(self._total)} ({self._done * 100 // self._total} %)" if self._total else "",
            rate=f", {describe_bytes((self._done - self._first) / taken)}/s" if taken > 0 else "",
        )
