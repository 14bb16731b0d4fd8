# -*- test-case-name: tests.api.responses.test_stream -*-
"""Responses as streams of events, in vLLM's order and with its keys.

A stream is ``response.created``, ``response.in_progress``, the events of each item, and with the whole object
``response.completed``, or ``response.incomplete`` if the answer was cut off; there is no ``[DONE]``. Every event has
its type in the line before it and in its data, and a ``sequence_number`` from 0 on. An item is
``response.output_item.added``, what it says bit by bit, and the same at once in events that end in ``done``. Messages
and reasoning have a content part around that.

Tokens that show nothing (tags, the ending one, text that is held back) bring no delta. With log probabilities every
token of a message brings one, so that none of them is missing.

vLLM breaks a stream off when something goes wrong in it. Here an ``error`` event in OpenAI's shape says what, or
``response.failed`` where the response is made in the background and others may ask for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from attrs import evolve

from vllmsim.api.chunks import MARKER
from vllmsim.api.eventstream import typed_event
from vllmsim.api.responses.answer import Keep, ResponseReading, ended_status, error_code
from vllmsim.api.responses.items import OutputItem
from vllmsim.api.responses.store import Status
from vllmsim.api.stretches import Stretch, stretches
from vllmsim.errors import InferenceError
from vllmsim.inference import NOT_PREFILLED, Answer, PartKind, Prefill, TokenizedPrompt

_DELTAS: Final[Mapping[PartKind, str]] = {
    "text": "response.output_text.delta",
    "reasoning": "response.reasoning_text.delta",
    "call": "response.function_call_arguments.delta",
}
_NUMBER: Final = b'"sequence_number":'
_NOTHING: Final[Mapping[str, Any]] = {}


class ResponseStream:
    """Writes one response as events.

    :param keep: takes the response at its end, if it is kept.
    """

    def __init__(self, reading: ResponseReading, keep: Keep | None) -> None:
        self._reading, self._keep = reading, keep
        self._shower = reading.shower
        self._pace = reading.settings.pace()
        self._plain = self._pace.single and self._shower is None
        self._prompts: Sequence[TokenizedPrompt] = ()
        self._prefill = NOT_PREFILLED
        self._status: Status = "queued"
        self._sequence = 0
        self._answer: Answer | None = None
        self._items: dict[int, OutputItem] = {}
        self._open: OutputItem | None = None
        self._added = 0
        self._frame = (b"", b"", b"")
        self._sent = 0
        self._logprobs: dict[str, list[bytes]] = {}

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Write what comes before the first token."""
        self._prompts, self._prefill = prompts, prefill
        return self._begin()

    def _begin(self) -> bytes:
        self._status = "in_progress"
        response = {"response": orjson.Fragment(self.snapshot())}
        return self._event("response.created", response) + self._event("response.in_progress", response)

    def snapshot(self) -> bytes:
        """Write the response object as it is before its end."""
        return self._object()

    def _object(self, **ended: Any) -> bytes:
        prompt_tokens = len(self._prompts[0].ids) if self._prompts else None
        return orjson.dumps(self._reading.object(self._status, prompt_tokens, **ended))

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write the tokens `start` to `stop`."""
        item = self._open
        if item is not None and self._plain and item.part.first <= start < stop < item.part.last:
            return b"".join(self._pieces(item, answer, range(start, stop)))
        if self._answer is None:
            self._items = {item.number: item for item in self._reading.items(answer)}
        self._answer = answer
        if start == stop:
            return b"".join(self._cut_off(answer))
        return b"".join(
            event
            for stretch in stretches(answer, start, stop)
            if (item := self._items.get(stretch.number)) is not None
            for event in self._stretch(item, answer, stretch)
        )

    def _cut_off(self, answer: Answer) -> Iterator[bytes]:
        """Write that an answer ends before its end: an item that is open ends too, and none follows.

        :param answer: what of it has been written.
        """
        self._items = dict(list(self._items.items())[: self._added])
        if self._open is not None:
            part = self._open.part.cut(len(answer))
            item = self._open = self._items[self._open.number] = evolve(self._open, part=part, complete=False)
            if self._sent < part.last and not self._plain:
                yield from self._delta(item, answer, self._sent, part.last)
            yield from self._done(item, answer)

    def _stretch(self, item: OutputItem, answer: Answer, stretch: Stretch) -> Iterator[bytes]:
        kind = item.part.kind
        if kind == "call" and stretch.opens:
            yield from self._add(item)
        if self._plain:
            yield from self._pieces(item, answer, stretch.body)
        else:
            shows = item.logged if self._shower and kind == "text" else range(item.part.first, item.part.last)
            tokens = range(max(stretch.start, shows.start), min(stretch.stop, shows.stop))
            yield from self._gathered(item, answer, tokens, shows)
        if stretch.closes:
            yield from self._done(item, answer)

    def _pieces(self, item: OutputItem, answer: Answer, tokens: Iterable[int]) -> Iterator[bytes]:
        """Write a delta for each token that shows something."""
        pieces, dumps = answer.pieces, orjson.dumps
        for token in tokens:
            if piece := pieces[token]:
                if self._open is not item:
                    yield from self._add(item)
                before, middle, after = self._frame
                yield before + dumps(piece) + middle + b"%d" % self._sequence + after
                self._sequence += 1

    def _gathered(self, item: OutputItem, answer: Answer, tokens: range, shows: range) -> Iterator[bytes]:
        """Gather tokens to deltas: an item's first token alone, then `interval` at a time, and the rest at its end.

        :param shows: all tokens that deltas of the item are of.
        """
        for token in tokens:
            if token == shows.start:
                self._sent = token
            count = token + 1
            alone = token == shows.start and not self._pace.together
            if alone or count == shows.stop or self._pace.due(self._sent, count, tokens.stop):
                yield from self._delta(item, answer, self._sent, count)
                self._sent = count

    def _delta(self, item: OutputItem, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        text, logprobs = "".join(answer.pieces[start:stop]), []
        if self._shower and item.part.kind == "text":
            logprobs = self._shower.response(answer, start, stop, brief=True)
            shown = self._shower.response(answer, start, stop, brief=False)
            self._logprobs.setdefault(item.id, []).append(orjson.dumps(shown)[1:-1])
        elif not text:
            return
        if self._open is not item:
            yield from self._add(item)
        yield typed_event(self._delta_of(item, text, logprobs, self._next()))

    def _delta_of(self, item: OutputItem, text: str, logprobs: Sequence[Any], number: int) -> dict[str, Any]:
        kind = item.part.kind
        return {
            **({} if kind == "call" else {"content_index": 0}),
            "delta": text,
            "item_id": item.id,
            **({"logprobs": logprobs} if kind == "text" else {}),
            "output_index": item.index,
            "sequence_number": number,
            "type": _DELTAS[kind],
        }

    def _add(self, item: OutputItem) -> Iterator[bytes]:
        """Write what comes before an item's first delta, and learn how these look."""
        self._open = item
        self._added += 1
        chunk = typed_event(self._delta_of(item, MARKER, [], 0))
        before, _, rest = chunk.partition(orjson.dumps(MARKER))
        middle, _, after = rest.partition(_NUMBER + b"0")
        self._frame = before, middle + _NUMBER, after
        added = {"item": item.shown(None, "in_progress"), "output_index": item.index}
        yield self._event("response.output_item.added", added)
        if item.part.kind != "call":
            part = item.content("", [])
            where = {"content_index": 0, "item_id": item.id, "output_index": item.index}
            yield self._event("response.content_part.added", {**where, "part": part})

    def _done(self, item: OutputItem, answer: Answer) -> Iterator[bytes]:
        """Write what comes after an item's last delta."""
        self._open = None
        text, kind = answer.said(item.part), item.part.kind
        where = {"item_id": item.id, "output_index": item.index}
        if kind == "call":
            said = {"arguments": text, **where}
            yield self._event("response.function_call_arguments.done", said, behind={"name": item.part.name})
        else:
            said = {"content_index": 0, "item_id": item.id, **({"logprobs": []} if kind == "text" else {})}
            name = "response.output_text.done" if kind == "text" else "response.reasoning_text.done"
            yield self._event(name, {**said, "output_index": item.index}, {"text": text})
            part = {"content_index": 0, **where, "part": item.content(text)}
            yield self._event("response.content_part.done", part)
        done = {"item": item.shown(text, item.status), "output_index": item.index}
        yield self._event("response.output_item.done", done)

    def closing(self) -> bytes:
        """Write the end."""
        answer = self._answer
        assert answer is not None
        output = [
            item.shown(answer.said(item.part), item.status, self._logprobs_of(item)) for item in self._items.values()
        ]
        status = self._status = ended_status(answer)
        body = self._reading.ended(self._prompts, self._prefill, answer, output)
        if self._keep:
            self._keep(self._reading.stored(body, status, list(self._items.values()), answer))
        kind = "response.completed" if status == "completed" else "response.incomplete"
        return self._event(kind, {"response": orjson.Fragment(body)})

    def _logprobs_of(self, item: OutputItem) -> orjson.Fragment | None:
        shown = self._logprobs.get(item.id)
        return None if shown is None else orjson.Fragment(b"[" + b",".join(shown) + b"]")

    def failure(self, error: InferenceError) -> bytes:
        """Write an error in the place of the rest."""
        code = error_code(error)
        if not self._reading.body.background:
            return self._error(code, error.message, error.param)
        opening = self._begin() if self._status == "queued" else b""
        body = self._give_up("failed", error={"code": code, "message": error.message})
        return opening + self._event("response.failed", {"response": orjson.Fragment(body)})

    def cancel(self) -> bytes:
        """Write that nothing more comes, as somebody wants it so."""
        opening = self._begin() if self._status == "queued" else b""
        self._give_up("cancelled")
        return opening + self._error("response_cancelled", "The response was cancelled.", None)

    def _give_up(self, status: Status, **ended: Any) -> bytes:
        self._status = status
        body = self._object(**ended)
        if self._keep:
            self._keep(self._reading.stored(body, status, (), None))
        return body

    def _error(self, code: str, message: str, param: str | None) -> bytes:
        number = self._next()
        return typed_event(
            {"type": "error", "code": code, "message": message, "param": param, "sequence_number": number}
        )

    def _next(self) -> int:
        number = self._sequence
        self._sequence = number + 1
        return number

    def _event(
        self,
        kind: str,
        members: Mapping[str, Any],
        more: Mapping[str, Any] = _NOTHING,
        behind: Mapping[str, Any] = _NOTHING,
    ) -> bytes:
        """Write an event.

        :param members: what it has before its number.
        :param more: what it has between its number and its type.
        :param behind: what it has behind that.
        """
        return typed_event({**members, "sequence_number": self._next(), **more, "type": kind, **behind})
