"""Whether a complete answer is whole: each choice ends once, nothing follows the end, and what is counted is there."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define, field
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from tests.properties.asked import Asked, Surface
from vllmsim.api.inferenceservice.messages import GenerateResponse
from vllmsim.grpc.framing import MessageReader


@define(eq=False)
class Told:
    """What an answer tells.

    :param endings: how often each choice has ended.
    :param prompt_tokens: as the usage has them; None if it is not told.
    :param failed: whether it tells that something went wrong in its middle.
    :param queued: whether it tells that the answer is made in the background.
    """

    endings: Counter[int] = field(factory=Counter)
    reasons: set[str] = field(factory=set)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    failed: bool = False
    queued: bool = False

    def end(self, index: int, reason: str | None) -> None:
        """Learn that a choice has ended, if it says why."""
        if reason is not None:
            self.endings[index] += 1
            self.reasons.add(reason)

    def count(
        self, usage: Mapping[str, Any] | None, read: str = "prompt_tokens", said: str = "completion_tokens"
    ) -> None:
        """Learn the usage."""
        if usage:
            self.prompt_tokens, self.completion_tokens = usage.get(read), usage[said]


def read_answer(asked: Asked) -> Told:
    """Read an answer that went well, and find it whole."""
    return _READERS[asked.surface](asked)


def _events(asked: Asked) -> list[tuple[str, Any]]:
    """Read the events of a stream: the type of each, if it has one, and its data."""
    text = asked.answer.decode()
    assert text.endswith("\n\n"), text
    read = []
    for block in text.split("\n\n")[:-1]:
        kind, _, data = block.rpartition("data: ")
        read.append((kind.removeprefix("event: ").strip(), data if data == "[DONE]" else json.loads(data)))
    return read


def _chunks(asked: Asked) -> tuple[list[Any], Told]:
    """Read a stream of OpenAI's: chunks, and what says that these are all."""
    *events, last = [data for _, data in _events(asked)]
    told = Told()
    if last != "[DONE]":
        raise AssertionError(last)
    if events and "error" in events[-1]:
        told.failed = True
        events.pop()
    assert not any(event == "[DONE]" or "error" in event for event in events), events
    return events, told


def _openai(asked: Asked) -> Told:
    """Read a chat, a completion, or tokens."""
    if not asked.streams:
        value, told = json.loads(asked.answer), Told()
        for choice in value["choices"]:
            told.end(choice["index"], choice["finish_reason"])
        told.count(value.get("usage"))
        if asked.surface == "generate":
            told.completion_tokens = sum(len(choice["token_ids"] or ()) for choice in value["choices"])
        return told
    chunks, told = _chunks(asked)
    ids = 0
    for chunk in chunks:
        told.count(chunk.get("usage"))
        for choice in chunk["choices"]:
            assert not told.endings[choice["index"]], f"something follows the end of a choice: {chunk}"
            ids += len(choice.get("token_ids") or ())
            told.end(choice["index"], choice["finish_reason"])
    continuous = sum(bool(chunk.get("usage")) for chunk in chunks) > 1
    if asked.surface == "generate":
        told.completion_tokens = ids
    elif continuous and chunks[-1]["choices"]:
        # Each tells of its own choice.
        told.prompt_tokens = told.completion_tokens = None
    return told


def _responses(asked: Asked) -> Told:
    """Read a response."""
    told = Told()
    if not asked.streams:
        value = json.loads(asked.answer)
        if value["status"] in {"completed", "incomplete"}:
            told.end(0, value["status"])
            told.count(value["usage"], "input_tokens", "output_tokens")
        else:
            told.queued = value["status"] in {"queued", "in_progress"}
            told.failed = not told.queued
        return told
    events = _events(asked)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events))), events
    assert all(kind == data["type"] for kind, data in events)
    kinds = [kind for kind, _ in events]
    if kinds[-1] in {"error", "response.failed"}:
        told.failed = True
        return told
    assert kinds[:2] == ["response.created", "response.in_progress"], kinds
    assert kinds[-1] in {"response.completed", "response.incomplete"}, kinds
    assert not {"response.completed", "response.incomplete", "error", "response.failed"} & {*kinds[:-1]}
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done"), kinds
    assert kinds.count("response.content_part.added") == kinds.count("response.content_part.done"), kinds
    value = events[-1][1]["response"]
    said = "".join(data["delta"] for kind, data in events if kind == "response.output_text.delta")
    texts = [part["text"] for item in value["output"] if item["type"] == "message" for part in item["content"]]
    assert said == "".join(texts), (said, texts)
    told.end(0, value["status"])
    told.count(value["usage"], "input_tokens", "output_tokens")
    return told


def _messages(asked: Asked) -> Told:
    """Read a message."""
    told = Told()
    if not asked.streams:
        value = json.loads(asked.answer)
        told.end(0, str(value.get("stop_reason")))
        _count_parts(told, value["usage"])
        return told
    events = _events(asked)
    assert all(kind == data["type"] for kind, data in events), events
    kinds = [kind for kind, _ in events if kind != "ping"]
    if kinds[-1] == "error":
        told.failed = True
        return told
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"]), kinds
    open_block, blocks = None, 0
    for kind, data in events:
        if kind == "content_block_start":
            assert (open_block, data["index"]) == (None, blocks), events
            open_block, blocks = data["index"], blocks + 1
        elif kind == "content_block_delta":
            assert data["index"] == open_block, events
        elif kind == "content_block_stop":
            assert data["index"] == open_block, events
            open_block = None
    assert open_block is None, events
    assert (kinds.count("message_start"), kinds.count("message_delta"), kinds.count("message_stop")) == (1, 1, 1)
    end = next(data for kind, data in events if kind == "message_delta")
    told.end(0, str(end["delta"]["stop_reason"]))
    _count_parts(told, end["usage"])
    return told


def _count_parts(told: Told, usage: Mapping[str, int]) -> None:
    """Learn the usage of a message, where the prompt's tokens are told in parts."""
    parts = "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"
    told.prompt_tokens, told.completion_tokens = sum(usage.get(part, 0) for part in parts), usage["output_tokens"]


def _pooling(asked: Asked) -> Told:
    """Read vectors or scores."""
    json.loads(asked.answer)
    return Told()


def _read_messages(asked: Asked, kind: Any) -> Sequence[Any]:
    return [kind.FromString(each.data) for each in MessageReader(1 << 30).feed(asked.answer)]


def _engine(asked: Asked) -> Told:
    """Read a call of VllmEngine."""
    told, ids = Told(), Counter[int]()
    for message in _read_messages(asked, pb.GenerateResponse):
        if message.HasField("complete"):
            complete = message.complete
            assert not told.endings[complete.index]
            told.end(complete.index, complete.finish_reason)
            told.prompt_tokens = complete.prompt_tokens
            assert len(complete.output_ids) == complete.completion_tokens, complete
            if not asked.streams:
                # In a stream these are the tokens of the last chunk once more.
                ids[complete.index] += complete.completion_tokens
        else:
            assert asked.streams
            assert not told.endings[message.chunk.index], message
            ids[message.chunk.index] += len(message.chunk.token_ids)
    told.completion_tokens = ids.total()
    return told


def _inference(asked: Asked) -> Told:
    """Read a call of vllm.Inference."""
    told = Told()
    for message in _read_messages(asked, GenerateResponse):
        for output in message.outputs:
            assert not told.endings[output.index], message
            if output.HasField("finish_info") and output.finish_info.finish_reason:
                told.end(output.index, str(output.finish_info.finish_reason))
                told.completion_tokens = (told.completion_tokens or 0) + output.finish_info.num_output_tokens
    return told


_READERS: Final[dict[Surface, Callable[[Asked], Told]]] = {
    "chat": _openai,
    "completions": _openai,
    "generate": _openai,
    "responses": _responses,
    "messages": _messages,
    "pooling": _pooling,
    "engine": _engine,
    "inference": _inference,
}
