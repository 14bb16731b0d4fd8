# -*- test-case-name: tests.scripts.dataset.test_events -*-
"""What a server streams, and what a record keeps of it.

A stream is lines; those that begin with ``data:`` have a chunk, and the last says ``[DONE]``. Asked for
``return_token_ids``, vLLM tells the prompt's ids with the first chunk, and with each chunk the ids of the tokens whose
text it has::

    data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "prompt_token_ids": [1, 2], ...}
    data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "token_ids": [13048], ...}]}
    data: {"choices": [{"index": 0, "delta": {"content": ""}, "token_ids": [2], "finish_reason": "stop", ...}]}
    data: [DONE]

A completion's chunks have ``text`` in the place of ``delta``, and the prompt's ids in the choice. So each token has its
own text without a tokenizer: a character that is cut over several tokens comes with the last of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from attrs import define, field

from vllmsim.dataset.records import LARGEST_ID
from vllmsim.inference import Tokens
from vllmsim.scripts.dataset.faults import BadItem

_LONGEST: Final = 1 << 26
"""The most bytes of an answer's stream."""
_DONE: Final = b"[DONE]"


class Broken(Exception):
    """An answer that did not come as it should; another try may have more luck."""


@define(eq=False)
class Recording:
    """Reads the stream of one answer."""

    prompt: Sequence[int] | None = field(init=False, default=None)
    """The prompt's token ids, if the server tells them."""
    prompt_text: str | None = field(init=False, default=None)
    """The prompt as the chat template writes it, likewise."""
    finished: bool = field(init=False, default=False)
    """Whether the stream came to its end."""
    _rest: list[bytes] = field(init=False, factory=list)
    _bytes: int = field(init=False, default=0)
    _ids: list[int] = field(init=False, factory=list)
    _texts: list[str] = field(init=False, factory=list)
    _text: list[str] = field(init=False, factory=list)
    _numbered: bool = field(init=False, default=True)
    _ended: bool = field(init=False, default=False)
    _calls: bool = field(init=False, default=False)
    _reason: str | None = field(init=False, default=None)

    def received(self, data: bytes) -> None:
        """Take what was read at one time.

        :raises Broken: when it is no stream of chunks, or has an error.
        :raises BadItem: when it is longer than any answer.
        """
        self._bytes += len(data)
        if self._bytes > _LONGEST:
            raise BadItem(f"its answer is longer than {_LONGEST} bytes")
        self._rest.append(data)
        if b"\n" not in data:
            return
        *lines, rest = b"".join(self._rest).split(b"\n")
        self._rest = [rest]
        for line in lines:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._event(value.strip())

    @property
    def text(self) -> str:
        """What was said."""
        return "".join(self._text)

    @property
    def tokens(self) -> Tokens | None:
        """The answer's tokens, without the one that ends it; None if the server does not tell their ids."""
        return Tokens(tuple(self._ids), tuple(self._texts)) if self._numbered and self.prompt is not None else None

    def check(self) -> None:
        """Look whether the answer is one that can be kept.

        :raises Broken: when it is not complete.
        :raises BadItem: when it is no text.
        """
        if not self.finished or self._reason in {None, "abort", "error"}:
            raise Broken("the answer has no end")
        if self._calls:
            raise BadItem("the server's answer calls tools")
        if not self.text:
            raise BadItem("the server's answer is empty")
        if not all(type(token) is int and 0 <= token <= LARGEST_ID for token in (*(self.prompt or ()), *self._ids)):
            raise BadItem("the server tells token ids that are none")

    def _event(self, value: bytes) -> None:
        if value == _DONE:
            self.finished = True
            return
        try:
            chunk = orjson.loads(value)
            if error := chunk.get("error"):
                raise Broken(f"the server broke off: {error.get('message') if isinstance(error, dict) else error}")
            self._begin(chunk)
            for choice in chunk["choices"]:
                self._choice(choice)
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
            raise Broken(f"the server sent {value[:100]!r}, which is no chunk of an answer") from None

    def _begin(self, chunk: Mapping[str, Any]) -> None:
        ids, text = chunk.get("prompt_token_ids"), chunk.get("prompt_text")
        self.prompt = self.prompt or (ids if isinstance(ids, list) else None)
        self.prompt_text = self.prompt_text or (text if isinstance(text, str) else None)

    def _choice(self, choice: Mapping[str, Any]) -> None:
        self._begin(choice)
        delta = choice.get("delta") or {}
        self._calls = self._calls or bool(delta.get("tool_calls"))
        parts = (delta.get("reasoning") or delta.get("reasoning_content"), delta.get("content"), choice.get("text"))
        text = "".join(part for part in parts if part)
        self._text.append(text)
        ids, reason = choice.get("token_ids"), choice.get("finish_reason")
        if not isinstance(reason, str | None):
            raise TypeError
        self._reason = reason or self._reason
        if text and not ids and not self._ids:
            self._numbered = False
        self._ids += ids or ()
        self._texts += [""] * len(ids or ())
        if reason == "stop" and ids and not isinstance(choice.get("stop_reason"), str):
            # The token that ends an answer is the server's to add again.
            self._ids.pop()
            self._texts.pop()
        if text and self._texts:
            self._texts[-1] += text
