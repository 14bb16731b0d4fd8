"""Responses as streams, byte for byte."""

import json
from itertools import pairwise
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import EOS, answer, prompt, recorded
from tests.api.responses.test_answer import ABCD, ARGUMENTS, LONG_PROMPT, PROMPT, WEATHER, call, composed, plain
from tests.fakes import prefilled
from vllmsim.api.responses.store import ResponseStore, StoredResponse
from vllmsim.api.responses.stream import ResponseStream
from vllmsim.errors import InvalidParameter, QueueFull, Unavailable, UnknownResponse
from vllmsim.inference import NOTHING_SAID, Answer, TokenizedPrompt

INCLUDED = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
RECORDED = composed(
    ("reasoning", 1, 1, ["think", " a"], ""), ("text", 0, 0, ["\n"], ""), ("call", 14, 2, ARGUMENTS, "get_w")
)
"""What the recorded model said in a stream, its 29 tokens."""


def streamed(
    body: dict[str, Any],
    said: Answer,
    asked: TokenizedPrompt = PROMPT,
    cached: int = 0,
    step: int = 1,
    **more: Any,
) -> bytes:
    """Write a stream, so many tokens at a time."""
    encoder = call({"stream": True, **body}, **more).stream_encoder
    assert encoder is not None
    writer = encoder()
    parts = [writer.opening([asked], prefilled([asked], cached))]
    parts += [writer.tokens(0, said, i, min(i + step, len(said))) for i in range(0, len(said), step)]
    return b"".join([*parts, writer.closing()])


def read(data: bytes) -> list[Any]:
    """Read events."""
    return [json.loads(part.partition("data: ")[2]) for part in data.decode().split("\n\n") if part]


class RecordingTests(SynchronousTestCase):
    """What vLLM sent."""

    def test_message(self) -> None:
        """A message has vLLM's bytes; two of the recorded tokens came as one delta."""
        said = answer(71, 72, 227, 73, 74, EOS, pieces=["a", "", "b ", "c", "d", ""])
        self.assertEqual(plain(recorded("respstream")), plain(streamed({}, said)))

    def test_call(self) -> None:
        """Reasoning, white space and a call have vLLM's bytes, each item with its own kinds of events."""
        self.assertEqual(29, len(RECORDED))
        sent = streamed({"tools": [WEATHER]}, RECORDED, LONG_PROMPT, 16, reasons=True)
        self.assertEqual(plain(recorded("resp_tool_stream")), plain(sent))


class EventTests(SynchronousTestCase):
    """What events say."""

    def events(self, body: dict[str, Any], said: Answer, **more: Any) -> list[Any]:
        """Write a stream and read it."""
        return read(streamed(body, said, **more))

    def test_runs_are_the_same_as_single_tokens(self) -> None:
        """However many tokens come at once, the bytes of the stream are the same."""
        cases: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
            ({}, {}),
            (INCLUDED, {}),
            ({"include_reasoning": False}, {}),
            ({}, {"stream_interval": 3}),
            (INCLUDED, {"stream_interval": 3}),
        )
        for body, more in cases:
            for said in (ABCD, RECORDED):
                streams = {streamed({"tools": [WEATHER], **body}, said, step=step, **more) for step in (1, 2, 3, 5, 29)}
                self.assertEqual(1, len(streams), body)

    def test_numbers(self) -> None:
        """Sequence numbers count from 0, without gaps."""
        numbers = [event["sequence_number"] for event in self.events({}, RECORDED)]
        self.assertEqual(list(range(len(numbers))), numbers)

    def test_names(self) -> None:
        """The line before the data says the type that the data has."""
        for part in streamed({}, RECORDED).decode().split("\n\n")[:-1]:
            line, _, data = part.partition("\ndata: ")
            self.assertEqual(line.removeprefix("event: "), json.loads(data)["type"])

    def test_ids(self) -> None:
        """All events of an item name it, and the whole response has it under that name."""
        ids = iter(range(1000))
        events = self.events({"tools": [WEATHER]}, RECORDED, new_id=lambda: f"{next(ids)}")
        added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
        self.assertEqual(3, len(set(added)))
        for event in events:
            if "output_index" in event:
                self.assertEqual(added[event["output_index"]], event.get("item_id") or event["item"]["id"])
        self.assertEqual(added, [item["id"] for item in events[-1]["response"]["output"]])

    def test_deltas_make_the_text(self) -> None:
        """The deltas joined are what the done events say."""
        events = self.events({"tools": [WEATHER]}, RECORDED)
        for kind, member in (
            ("reasoning_text", "text"),
            ("output_text", "text"),
            ("function_call_arguments", "arguments"),
        ):
            deltas = [event["delta"] for event in events if event["type"] == f"response.{kind}.delta"]
            [done] = [event for event in events if event["type"] == f"response.{kind}.done"]
            self.assertEqual(done[member], "".join(deltas))

    def test_strange_text(self) -> None:
        """Text that looks like the frame of an event is no more than text."""
        pieces = ['"sequence_number":0', "\n\n", "\ue000text\ue000", '"', "\u2028", ""]
        events = self.events({}, answer(71, 72, 227, 73, 74, EOS, pieces=pieces))
        self.assertEqual(pieces[:-1], [event["delta"] for event in events if "delta" in event])

    def test_logprobs(self) -> None:
        """Every token has a delta with its log probabilities; the end has them all, and the events before it none."""
        events = self.events(INCLUDED, ABCD)
        shown = [each for event in events if "delta" in event for each in event["logprobs"]]
        self.assertEqual(["a", "b", " ", "c", "d", "<|im_end|>"], [each["token"] for each in shown])
        self.assertEqual(["token", "logprob", "top_logprobs"], list(shown[0]))
        self.assertEqual([["a", "a_1"]], [[top["token"] for top in each["top_logprobs"]] for each in shown[:1]])
        final = events[-1]["response"]["output"][0]["content"][0]["logprobs"]
        self.assertEqual(shown, [without_bytes(each) for each in final])
        self.assertEqual(list(b"a"), final[0]["bytes"])
        by_type = {event["type"].removeprefix("response."): event for event in events}
        self.assertEqual([], by_type["content_part.added"]["part"]["logprobs"])
        self.assertEqual([], by_type["output_text.done"]["logprobs"])
        self.assertIsNone(by_type["content_part.done"]["part"]["logprobs"])
        self.assertIsNone(by_type["output_item.done"]["item"]["content"][0]["logprobs"])

    def test_whole_and_stream_agree(self) -> None:
        """The object at the end of a stream is the one that a whole answer is, but for the status of reasoning."""
        for body in ({}, INCLUDED):
            asked = {"tools": [WEATHER], **body}
            final = self.events(asked, RECORDED)[-1]["response"]
            final["output"][0]["status"] = None
            whole = call(asked).whole_encoder().body([PROMPT], prefilled([PROMPT]), [RECORDED])
            self.assertEqual(json.loads(whole), final)

    def test_incomplete(self) -> None:
        """A stream that the limit cuts ends with another event, and so does the item that it cuts."""
        events = self.events({}, answer(71, 72, reason="length"))
        self.assertEqual("response.incomplete", events[-1]["type"])
        self.assertEqual(("incomplete", {"reason": "max_output_tokens"}), (
            events[-1]["response"]["status"], events[-1]["response"]["incomplete_details"]
        ))  # fmt: skip
        self.assertEqual("incomplete", events[-2]["item"]["status"])

    def test_aborted(self) -> None:
        """An answer that is aborted ends with what was said: deltas, done events and the object agree."""
        cases: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
            ({}, {}),
            (INCLUDED, {}),
            ({}, {"stream_interval": 4}),
            (INCLUDED, {"stream_interval": 4}),
        )
        for body, more in cases:
            for said in (ABCD, RECORDED):
                for length in range(len(said)):
                    self.check_aborted({"tools": [WEATHER], **body}, said, length, **more)

    def test_aborted_item(self) -> None:
        """The item that an abort cuts is incomplete, in its last event as in the object."""
        encoder = call({"stream": True}).stream_encoder
        assert encoder is not None
        writer = encoder()
        written = [writer.opening([PROMPT], prefilled([PROMPT])), writer.tokens(0, ABCD, 0, 3)]
        events = read(b"".join([*written, writer.tokens(0, ABCD.aborted(3), 3, 3), writer.closing()]))
        self.assertEqual(
            ["incomplete"] * 2, [events[-2]["item"]["status"], events[-1]["response"]["output"][0]["status"]]
        )

    def check_aborted(self, body: dict[str, Any], said: Answer, length: int, **more: Any) -> None:
        """Abort an answer after some tokens."""
        encoder = call({"stream": True, **body}, **more).stream_encoder
        assert encoder is not None
        writer = encoder()
        written = [writer.opening([PROMPT], prefilled([PROMPT]))]
        written += [writer.tokens(0, said, token, token + 1) for token in range(length)]
        left = said.aborted(length) if length else NOTHING_SAID
        events = read(b"".join([*written, writer.tokens(0, left, length, length), writer.closing()]))
        self.assertEqual("response.incomplete", events[-1]["type"])
        final = events[-1]["response"]
        self.assertEqual(("cancelled", None), (final["status"], final["incomplete_details"]))
        added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        self.assertEqual(added, [item["id"] for item in done])
        for item in final["output"]:
            if item["type"] == "message":
                item["content"][0]["logprobs"] = None
        self.assertEqual(done, final["output"])
        deltas = "".join(event["delta"] for event in events if "delta" in event)
        self.assertEqual("".join(said.pieces[:length]), deltas)
        self.assertEqual(length, final["usage"]["output_tokens"])

    def test_nothing_said(self) -> None:
        """An answer without text has no item and no events of one."""
        events = self.events({}, answer(EOS))
        self.assertEqual(
            ["response.created", "response.in_progress", "response.completed"], [event["type"] for event in events]
        )

    def test_hidden_reasoning(self) -> None:
        """Reasoning that is not wanted takes no place in the output."""
        events = self.events({"include_reasoning": False}, RECORDED)
        self.assertFalse([event for event in events if "reasoning" in event["type"]])
        self.assertEqual([0, 1], sorted({event["output_index"] for event in events if "output_index" in event}))

    def test_interval(self) -> None:
        """With an interval the first token of an item comes alone, then so many at a time, and the rest at its end."""
        deltas = [event["delta"] for event in self.events({}, ABCD, stream_interval=3) if "delta" in event]
        self.assertEqual(["a", "b c", "d"], deltas)
        deltas = [
            event["delta"]
            for event in self.events({}, RECORDED, stream_interval=4)
            if event["type"] == "response.function_call_arguments.delta"
        ]
        self.assertEqual(['{"', 'city": "S', 'F"}'], deltas)
        silent = answer(*[71] * 6, EOS, pieces=["a", "", "", "", "b", "c", ""])
        deltas = [event["delta"] for event in self.events({}, silent, stream_interval=2) if "delta" in event]
        self.assertEqual(["a", "b", "c"], deltas)

    def test_together(self) -> None:
        """What a step gives of an item may come as one delta."""
        events = self.events({}, ABCD, step=3, together=True)
        self.assertEqual(["ab ", "cd"], [event["delta"] for event in events if "delta" in event])
        shown = self.events(INCLUDED, ABCD, step=3, together=True)
        self.assertEqual([3, 3], [len(event["logprobs"]) for event in shown if "delta" in event])
        deltas = [event["delta"] for event in self.events({}, RECORDED, step=4, together=True) if "delta" in event]
        self.assertEqual("".join(["think a", "\n", *ARGUMENTS]), "".join(deltas))

    def test_several_calls(self) -> None:
        """Calls are items of their own, one after the other."""
        said = composed(("call", 2, 1, ["{}"], "get_w"), ("call", 2, 1, ['{"city', '": 1}'], "get_w"))
        events = [event for event in self.events({"tools": [WEATHER]}, said) if "output_index" in event]
        self.assertEqual([0] * 4 + [1] * 5, [event["output_index"] for event in events])
        self.assertTrue(all(a["output_index"] <= b["output_index"] for a, b in pairwise(events)))


def without_bytes(entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out what deltas leave out."""
    return {
        "token": entry["token"],
        "logprob": entry["logprob"],
        "top_logprobs": [{"token": top["token"], "logprob": top["logprob"]} for top in entry["top_logprobs"]],
    }


class FailureTests(SynchronousTestCase):
    """What goes wrong in a stream."""

    def setUp(self) -> None:
        """Remember what is kept."""
        self.kept: list[StoredResponse] = []

    def background(self) -> ResponseStream:
        """Make the writer of a response in the background."""
        read = call({"background": True}, ResponseStore(5))
        assert read.background is not None
        return read.background(self.kept.append)

    def test_error(self) -> None:
        """An error in mid-stream is an event in OpenAI's shape, with the next number, and nothing is kept."""
        store = ResponseStore(5)
        encoder = call({"stream": True}, store).stream_encoder
        assert encoder is not None
        writer = encoder()
        writer.opening([PROMPT], prefilled([PROMPT]))
        self.assertEqual(
            b'event: error\ndata: {"type":"error","code":"server_error","message":"Stopping.","param":null,'
            b'"sequence_number":2}\n\n',
            writer.failure(Unavailable("Stopping.")),
        )
        self.assertRaises(UnknownResponse, store.find, "resp_0123456789abcdef")

    def test_failed(self) -> None:
        """A background response that fails says so in its object, at whatever point it does."""
        for opened in (True, False):
            writer = self.background()
            if opened:
                writer.opening([prompt([1])], prefilled([prompt([1])]))
            events = read(writer.failure(InvalidParameter("Too long.", "input_tokens")))
            kinds = ["response.created", "response.in_progress", "response.failed"]
            self.assertEqual(kinds[-1:] if opened else kinds, [event["type"] for event in events])
            response = events[-1]["response"]
            self.assertEqual("failed", response["status"])
            self.assertEqual(
                {"code": "invalid_prompt", "message": "Too long. (parameter=input_tokens)"}, response["error"]
            )
            self.assertEqual(("failed", response), (self.kept[-1].status, json.loads(self.kept[-1].body)))
        self.assertEqual(
            "rate_limit_exceeded", read(self.background().failure(QueueFull("x")))[-1]["response"]["error"]["code"]
        )

    def test_cancelled(self) -> None:
        """A background response that is cancelled ends its streams with an event that says so, never as the first."""
        writer = self.background()
        writer.opening([prompt([1])], prefilled([prompt([1])]))
        [event] = read(writer.cancel())
        self.assertEqual(("error", "response_cancelled", 2), (event["type"], event["code"], event["sequence_number"]))
        self.assertEqual("cancelled", json.loads(self.kept[0].body)["status"])
        types = [event["type"] for event in read(self.background().cancel())]
        self.assertEqual(["response.created", "response.in_progress", "error"], types)

    def test_snapshots(self) -> None:
        """A response in the making is queued until its first token, then in progress with its limit known."""
        writer = self.background()
        self.assertEqual(("queued", None), limit(writer))
        writer.opening([PROMPT], prefilled([PROMPT]))
        self.assertEqual(("in_progress", 240), limit(writer))


def limit(writer: ResponseStream) -> tuple[str, int | None]:
    """Read how a response is, and how long it may be."""
    response = json.loads(writer.snapshot())
    return response["status"], response["max_output_tokens"]
