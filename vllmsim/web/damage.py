# -*- test-case-name: tests.web.test_damage -*-
"""Answers whose bytes go wrong on purpose.

A stream is made of frames: events with the blank line behind them, or messages with their length before them. What goes
wrong is the first frame after a number of tokens, or the last; where an answer is shorter, that is the first frame
behind its last token. A connection that is closed within an answer is closed behind all that was written, so that
clients see the same bytes each time.
"""

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field

from vllmsim.api.dialect import StreamEncoder
from vllmsim.api.spoiling import EVENTS, Spoiling
from vllmsim.errors import InferenceError
from vllmsim.faults import Damage
from vllmsim.inference import Answer, Prefill, TokenizedPrompt
from vllmsim.web.answered import JSON
from vllmsim.web.request import Request
from vllmsim.web.streaming import WholeAnswer

_AT_THE_END: Final = ("done-missing", "done-twice")


@define(eq=False)
class DamagedStream:
    """Writes a streamed answer, and spoils it.

    :param encoder: writes it as it should be.
    :param spoiling: what its frames are.
    :param choices: how many there are.
    """

    _encoder: StreamEncoder
    _request: Request
    _damage: Damage
    _spoiling: Spoiling
    _choices: int
    _last: bytes = field(init=False, default=b"")
    """The last frame behind tokens, which may be the last of all."""
    _spoilt: bool = field(init=False, default=False)
    _over: bool = field(init=False, default=False)

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Write what comes before the first token."""
        return self._encoder.opening(prompts, prefill)

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write the tokens `start` to `stop` of a choice, as far as they come."""
        if self._over:
            return b""
        after = self._damage.after
        if self._damage.kind in _AT_THE_END:
            return self._keep_last(self._encoder.tokens(choice, answer, start, stop), ends=stop == len(answer))
        if self._spoilt or stop <= after:
            return self._encoder.tokens(choice, answer, start, stop)
        before = self._encoder.tokens(choice, answer, start, after) if start < after else b""
        return self._spoil(before, lambda: self._encoder.tokens(choice, answer, max(start, after), stop))

    def closing(self) -> bytes:
        """Write what comes after the last token, if anything does."""
        if self._over:
            return b""
        if self._damage.kind in _AT_THE_END:
            *frames, last = self._spoiling.frames(self._last + self._encoder.closing())
            return b"".join(frames if self._damage.kind == "done-missing" else [*frames, last, last])
        return self._encoder.closing() if self._spoilt else self._spoil(b"", self._encoder.closing)

    def _keep_last(self, written: bytes, *, ends: bool) -> bytes:
        """Keep the last frame of the last choice, behind which there may be no other.

        :param ends: whether a choice ends with what is written.
        """
        self._choices -= ends
        if self._choices or not ends:
            return written
        *frames, self._last = self._spoiling.frames(written) or [b""]
        return b"".join(frames)

    def failure(self, error: InferenceError) -> bytes:
        """Write an error in the place of the rest, if anything comes."""
        return b"" if self._over else self._encoder.failure(error)

    def _spoil(self, before: bytes, write: Callable[[], bytes]) -> bytes:
        """Spoil the first frame of what follows, if there is one.

        :param before: what comes before it and is not written yet.
        :param write: writes what follows.
        :return: what is to be written now.
        """
        if self._damage.kind == "cut":
            return self._break_off(before)
        frames = self._spoiling.frames(write())
        if not frames:
            return before
        self._spoilt = True
        if self._damage.kind == "malformed":
            return b"".join([before, self._spoiling.malformed(frames[0]), *frames[1:]])
        return self._break_off(before + _half(frames[0]))

    def _break_off(self, last: bytes) -> bytes:
        self._over = True
        self._request.write(last)
        if self._damage.ends:
            self._request.end_early()
        else:
            self._request.hang_up()
        return b""


def _half(data: bytes) -> bytes:
    return data[: max(1, len(data) // 2)]


@define(eq=False)
class CutAnswer(WholeAnswer):
    """An answer in one piece that does not come: the connection is closed when a choice has so many tokens.

    :param after: how many; for an answer that is shorter it is closed with the last of its first choice.
    """

    _request: Request = field(kw_only=True)
    _after: int = field(kw_only=True)

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Remember a choice's answer, or have it come no further."""
        WholeAnswer.tokens(self, choice, answer, start, stop)
        if stop >= min(self._after, len(answer)):
            self._request.hang_up()


def answer_badly(
    request: Request, damage: Damage, body: bytes, content_type: bytes = JSON, spoiling: Spoiling = EVENTS
) -> None:
    """Write an answer in one piece, spoilt. Where there is nothing to spoil it comes whole.

    :param spoiling: what it is.
    """
    if damage.kind == "truncate" and not damage.ends:
        request.begin(200, len(body), content_type)
        request.write(_half(body))
        request.hang_up()
    elif damage.kind == "cut":
        request.hang_up()
    else:
        spoil = {"truncate": _half, "malformed": spoiling.malformed}.get(damage.kind, bytes)
        request.answer(200, spoil(body), content_type)
