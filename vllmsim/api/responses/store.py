# -*- test-case-name: tests.api.responses.test_store -*-
"""Responses that clients may come back to: a bounded number of them, the least recently used of which go first.

vLLM keeps every response for ever, if it keeps any. Here the number is bounded, and so is their size: what clients send
decides how large a response is. Long answers are written in threads, and kept there.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from attrs import define, field, frozen

from vllmsim.errors import InvalidResponseUse, UnknownResponse
from vllmsim.inference import Message

Status: TypeAlias = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

MOST_BYTES: Final = 64 << 20
"""How large all stored responses may be together, roughly."""


@frozen(eq=False)
class StoredResponse:
    """A response that has come to its end.

    :param body: its object, as JSON.
    :param conversation: what was said up to its end, without instructions, which concern one response alone.
    :param output: its items, without log probabilities.
    :param events: the events of its stream; None if it cannot be streamed again.
    """

    id: str
    status: Status
    body: bytes
    conversation: tuple[Message, ...] = ()
    output: Sequence[Mapping[str, Any]] = ()
    events: Sequence[bytes] | None = None

    @property
    def size(self) -> int:
        """How much memory it takes, roughly, in bytes."""
        said = sum(len(m.text) + sum(len(item.source) for item in m.media) for m in self.conversation)
        return 2 * (len(self.body) + said) + sum(map(len, self.events or ()))


@define(eq=False)
class ResponseStore:
    """Keeps responses.

    :param most: how many at most; 0 to keep none.
    :param most_bytes: how large they may be together.
    """

    _most: int = 0
    _most_bytes: int = MOST_BYTES
    _kept: OrderedDict[str, tuple[StoredResponse, int]] = field(init=False, factory=OrderedDict)
    _items: dict[str, str] = field(init=False, factory=dict)
    _running: set[str] = field(init=False, factory=set)
    _bytes: int = field(init=False, default=0)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    @property
    def enabled(self) -> bool:
        """Whether anything is kept."""
        return self._most > 0

    def begin(self, response_id: str) -> None:
        """Learn of a response that is made in the background.

        :raises InvalidResponseUse: when one of that id is being made already.
        """
        if response_id in self._running:
            raise InvalidResponseUse(f"A response with id '{response_id}' is in progress.", "request_id")
        self._running.add(response_id)

    def end(self, response_id: str) -> None:
        """Learn that a response which had begun is made no more."""
        self._running.discard(response_id)

    def keep(self, response: StoredResponse) -> None:
        """Keep a response, in the place of an earlier one of its id."""
        size = response.size
        with self._lock:
            self._drop(response.id)
            self._kept[response.id] = response, size
            self._bytes += size
            self._items.update((item["id"], response.id) for item in response.output)
            while self._kept and (len(self._kept) > self._most or self._bytes > self._most_bytes):
                self._drop(next(iter(self._kept)))

    def _drop(self, response_id: str) -> None:
        response, size = self._kept.pop(response_id, (None, 0))
        self._bytes -= size
        for item in response.output if response else ():
            self._items.pop(item["id"], None)

    def find(self, response_id: str) -> StoredResponse:
        """Find a response that has come to its end.

        :raises UnknownResponse: when none of that id is kept.
        """
        with self._lock:
            return self._use(response_id)

    def _use(self, response_id: str) -> StoredResponse:
        if response_id not in self._kept:
            raise UnknownResponse(response_id)
        self._kept.move_to_end(response_id)
        return self._kept[response_id][0]

    def conversation(self, response_id: str) -> tuple[Message, ...]:
        """Find what was said up to the end of a response, so that it can go on.

        :raises UnknownResponse: when none of that id is kept.
        :raises InvalidResponseUse: when it has not come to a good end.
        """
        if response_id in self._running:
            raise InvalidResponseUse(f"Response with id '{response_id}' is still in progress.", "previous_response_id")
        response = self.find(response_id)
        if response.status not in ("completed", "incomplete"):
            raise InvalidResponseUse(f"Response with id '{response_id}' is {response.status}.", "previous_response_id")
        return response.conversation

    def item(self, item_id: str) -> Mapping[str, Any]:
        """Find an item of a response.

        :raises InvalidResponseUse: when no response that is kept has one of that id.
        """
        with self._lock:
            owner = self._items.get(item_id)
            if owner is None:
                raise InvalidResponseUse(f"Item with id '{item_id}' not found.", "input")
            return next(item for item in self._use(owner).output if item["id"] == item_id)
