"""What an answer says of itself: whether it is whole, and how many tokens it has by each way of counting them."""

import json
from collections.abc import Callable
from typing import Any, Final, Literal

from attrs import define, frozen

from tests.soak import calls
from tests.soak.exchanges import Call, Reply

How = Literal["whole", "aborted", "error", "broken", "left"]
"""How a request has ended for its client."""


@frozen
class Ending:
    """What became of a request, as its client sees it.

    :param status: of HTTP, or the name of gRPC's for calls.
    :param generated: tokens, where the answer tells.
    :param leave: where the client left, or ``late`` if the connection may have been closed before.
    :param trouble: what was wrong with it; empty if nothing was.
    """

    id: str
    kind: str
    how: How
    status: int | str
    generated: int | None = None
    leave: str = ""
    trouble: str = ""


class Spoilt(ValueError):
    """An answer that is not what it should be."""


@define
class Tally:
    """Counts what is in an answer.

    :param usage: generated tokens, as the answer says at its end.
    :param counted: generated tokens, one by one, where the answer has them.
    """

    usage: int | None = None
    counted: int | None = None
    finished: int = 0
    aborted: bool = False

    def finish(self, reason: object) -> None:
        """Take why a choice has ended; None if it has not."""
        if reason is not None:
            self.finished += 1
            self.aborted |= reason == "abort"

    def end(self, tokens: int, reason: str) -> None:
        """Take a choice that has ended, and what it says of its tokens."""
        self.usage = (self.usage or 0) + tokens
        self.finish(reason)

    def add(self, tokens: list[int] | None) -> None:
        """Take some tokens."""
        if tokens is not None:
            self.counted = (self.counted or 0) + len(tokens)


def events(body: bytes) -> list[Any]:
    """Cut a stream into its events; ``[DONE]`` is a text."""
    if not body.endswith(b"\n\n"):
        raise Spoilt("the stream breaks off")
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    return ["[DONE]" if line == b"[DONE]" else json.loads(line) for line in lines]


def _choices(call: Call, reply: Reply, tally: Tally) -> None:
    if not call.stream:
        answer = json.loads(reply.body)
        chunks = [answer]
        tally.usage = answer["usage"]["completion_tokens"]
    else:
        *chunks, last = events(reply.body)
        if last != "[DONE]" or "[DONE]" in chunks:
            raise Spoilt("the stream has no end, or two")
        tally.usage = next((each["usage"]["completion_tokens"] for each in reversed(chunks) if each.get("usage")), None)
    for chunk in chunks:
        if "error" in chunk:
            raise Spoilt(json.dumps(chunk))
        for choice in chunk["choices"]:
            tally.finish(choice["finish_reason"])
            tally.add(choice.get("token_ids"))
            listed = (choice.get("logprobs") or {}).get("content")
            if listed is not None and choice.get("token_ids") is not None and len(listed) != len(choice["token_ids"]):
                raise Spoilt(f"{len(listed)} log probabilities of {len(choice['token_ids'])} tokens")
    _all_ended(call, tally)


def _response(call: Call, reply: Reply, tally: Tally) -> None:
    if call.stream:
        stream = events(reply.body)
        if [each["sequence_number"] for each in stream] != [*range(len(stream))]:
            raise Spoilt("events are missing")
        if stream[-1]["type"] not in ("response.completed", "response.incomplete"):
            raise Spoilt(f"the last event is {stream[-1]['type']}")
        answer = stream[-1]["response"]
    else:
        answer = json.loads(reply.body)
    tally.usage = answer["usage"]["output_tokens"]
    tally.aborted = answer["status"] == "cancelled"


def _message(call: Call, reply: Reply, tally: Tally) -> None:
    if call.stream:
        stream = events(reply.body)
        if [each["type"] for each in stream if each["type"] != "ping"][-2:] != ["message_delta", "message_stop"]:
            raise Spoilt("the stream breaks off")
        tally.usage = stream[-2]["usage"]["output_tokens"]
    else:
        tally.usage = json.loads(reply.body)["usage"]["output_tokens"]


def _json(_call: Call, reply: Reply, _tally: Tally) -> None:
    json.loads(reply.body)


def _engine(call: Call, reply: Reply, tally: Tally) -> None:
    tally.counted = calls.read_engine(reply, stream=call.stream, ended=tally.end)
    if call.stream:
        # The end of a choice counts what came last with it, as vLLM's does.
        tally.usage = None
    _all_ended(call, tally)


def _inference(call: Call, reply: Reply, tally: Tally) -> None:
    tally.counted = calls.read_inference(reply, ended=tally.end)
    _all_ended(call, tally)


def _vector(_call: Call, reply: Reply, _tally: Tally) -> None:
    calls.read_vector(reply)


def _all_ended(call: Call, tally: Tally) -> None:
    if tally.finished != call.expected:
        raise Spoilt(f"{tally.finished} choices of {call.expected} have ended")


READERS: Final[dict[str, Callable[[Call, Reply, Tally], None]]] = {
    "choices": _choices,
    "response": _response,
    "message": _message,
    "json": _json,
    "engine": _engine,
    "inference": _inference,
    "vector": _vector,
    "nothing": lambda *_: None,
}


def read(call: Call, reply: Reply, reader: str) -> Ending:
    """Find out how a request has ended."""
    leave = "late" if reply.late else "" if call.leave is None else call.leave.where
    status: int | str = calls.code(reply) if call.rpc else reply.status

    def ending(how: How, trouble: str = "", generated: int | None = None) -> Ending:
        return Ending(call.id, call.kind, how, status, generated, leave, trouble)

    if reply.left:
        return ending("left")
    if not reply.whole:
        return ending("broken", reply.trouble or "the answer breaks off")
    if status not in (200, "OK"):
        return ending("error") if status else ending("broken", "the call has no status")
    tally = Tally()
    try:
        READERS[reader](call, reply, tally)
    except (ValueError, LookupError, TypeError) as error:
        return ending("broken", f"{type(error).__name__}: {error}")
    if tally.counted is not None and tally.usage is not None and tally.counted != tally.usage:
        return ending("broken", f"{tally.counted} tokens, and usage says {tally.usage}")
    return ending(
        "aborted" if tally.aborted else "whole", generated=tally.counted if tally.usage is None else tally.usage
    )
