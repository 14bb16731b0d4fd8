"""Answers to chat requests that are more than text."""

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, normal, prompt, recorded, settings, written
from tests.fakes import prefilled
from vllmsim.api.chat import ChatDialect
from vllmsim.api.toolcalls import Tooling
from vllmsim.inference import Answer, Part

HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {"name": "get_w", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
ARGUMENTS = ['{"', "city", '":', ' "', "S", "F", '"}']
PROMPT = prompt(list(range(22)))


def composed(*parts: tuple[str, int, int, list[str], str], reason: str = "stop", more: int = 1) -> Answer:
    """Make an answer of parts: their kind, tokens before and behind their own, their own, and the tool.

    :param more: tokens behind the last part.
    """
    made: list[Part] = []
    pieces: list[str] = []
    for kind, before, behind, own, name in parts:
        start = len(pieces)
        pieces += [""] * before + own + [""] * behind
        first = start + before
        opens = first - 1 if name else first
        made.append(Part(kind, start, opens, first, first + len(own), len(pieces), name))  # type: ignore[arg-type]
    pieces += [""] * more
    return Answer(range(len(pieces)), pieces, pieces, reason, parts=tuple(made))  # type: ignore[arg-type]


RECORDED = composed(
    ("reasoning", 1, 1, ["think", " ", "a"], ""), ("text", 0, 0, ["\n"], ""), ("call", 13, 2, ARGUMENTS, "get_w")
)
"""The recorded model's 29 tokens."""


def plain(data: bytes) -> bytes:
    """Take out what this server does not say or says better: timings, counted reasoning."""
    data = re.sub(rb'"chatcmpl-tool-[0-9a-f]{16}"', b'"chatcmpl-tool-ID"', normal(data))
    streamed = data.startswith(b"data: ")
    data = re.sub(rb',"metrics":\{[^}]*\}', b"" if streamed else b',"metrics":null', data)
    return re.sub(rb'"reasoning_tokens":\d+', b'"reasoning_tokens":0', data).rstrip()


class RecordingTests(SynchronousTestCase):
    """What vLLM sent."""

    def test_recordings(self) -> None:
        """A call after reasoning has vLLM's bytes, whole and streamed, with what became of the prompt's blocks."""
        for name, fields, cached in (
            ("toolns", {}, 0),
            ("toolstream", {"stream": True, "stream_options": {"include_usage": True}}, 16),
        ):
            dialect = ChatDialect(settings(reasons=True, prompt_tokens_details=True, block_size=16))
            answer = RECORDED if name == "toolstream" else composed(
                ("reasoning", 1, 1, ["think", " ", "a"], ""), ("call", 14, 2, ARGUMENTS, "get_w")
            )  # fmt: skip
            sent = written(dialect, {"messages": HI, "tools": [WEATHER], **fields}, [PROMPT], [answer], cached)
            self.assertEqual(29, len(answer))
            self.assertEqual(plain(recorded(name)), plain(sent), name)


class StreamTests(SynchronousTestCase):
    """Streams of answers with parts."""

    def events(self, body: dict[str, Any], answer: Answer, step: int = 1, **more: Any) -> list[Any]:
        """Write a stream, so many tokens at a time, and read it."""
        dialect = ChatDialect(settings(reasons=True, **more))
        asked = {"messages": HI, "stream": True, "tools": [WEATHER], **body}
        sent = written(dialect, asked, [PROMPT], [answer], step=step)
        return [json.loads(part[6:]) for part in sent.decode().split("\n\n")[:-2]]

    def deltas(self, body: dict[str, Any], answer: Answer, **more: Any) -> list[Any]:
        """List the deltas behind the role."""
        return [event["choices"][0]["delta"] for event in self.events(body, answer, **more)[1:]]

    def test_runs_are_the_same_as_single_tokens(self) -> None:
        """However many tokens come at once, the bytes of the stream are the same."""
        for body in (
            {},
            {"logprobs": True},
            {"return_token_ids": True},
            {"include_reasoning": False},
            {"stream_interval": 3},
            {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        ):
            streams = set()
            for step in (1, 2, 3, 5, 29):
                data = json.dumps({"messages": HI, "stream": True, "tools": [WEATHER], **body}).encode()
                call = ChatDialect(settings(reasons=True)).parse(data, HEAD)
                assert call.stream_encoder is not None
                encoder = call.stream_encoder()
                encoder.opening([PROMPT], prefilled([PROMPT]))
                streams.add(b"".join(encoder.tokens(0, RECORDED, i, min(i + step, 29)) for i in range(0, 29, step)))
            self.assertEqual(1, len(streams), body)

    def test_interval(self) -> None:
        """With an interval the pieces of each part are gathered, and none are lost."""
        deltas = self.deltas({"stream_interval": 3}, RECORDED)
        self.assertEqual(["think", " a"], [delta["reasoning"] for delta in deltas[:2]])
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        self.assertEqual("".join(ARGUMENTS), "".join(call["function"].get("arguments", "") for call in calls))
        self.assertEqual(1 + 1 + 2, len(calls))

    def test_together(self) -> None:
        """What a step gives of a part may come in one piece, and none is lost where it goes from part to part."""
        single, steps = self.deltas({}, RECORDED), self.deltas({}, RECORDED, together=True, step=4)

        def said(deltas: list[Any]) -> list[str]:
            calls = [call["function"] for delta in deltas for call in delta.get("tool_calls", ())]
            return [
                "".join(delta.get("reasoning") or "" for delta in deltas),
                "".join(delta.get("content") or "" for delta in deltas),
                "".join(call.get("arguments", "") for call in calls),
            ]

        self.assertEqual(said(single), said(steps))
        self.assertEqual(["think a"], [delta["reasoning"] for delta in steps if "reasoning" in delta])
        arguments = [each["tool_calls"][0]["function"].get("arguments") for each in steps if each.get("tool_calls")]
        self.assertEqual([None, '{"', 'city": "S', 'F"}'], arguments)

    def test_several_calls(self) -> None:
        """Calls are numbered, each with an id and its name once."""
        answer = composed(("call", 2, 1, ["{}"], "get_w"), ("call", 2, 1, ['{"city', '": 1}'], "get_w"))
        calls = [call for delta in self.deltas({}, answer) for call in delta.get("tool_calls", ())]
        self.assertEqual([0, 0, 1, 1, 1], [call["index"] for call in calls])
        self.assertEqual(2, sum("id" in call for call in calls))
        self.assertEqual("tool_calls", self.events({}, answer)[-1]["choices"][0]["finish_reason"])

    def test_numbered_ids(self) -> None:
        """Where ids are numbers, the calls of the conversation are numbered through."""
        earlier = {
            "role": "assistant",
            "tool_calls": [{"id": "a", "function": {"name": "get_w", "arguments": "{}"}}] * 2,
        }
        answer = composed(("call", 2, 1, ["{}"], "get_w"), ("call", 2, 1, ["{}"], "get_w"))
        deltas = self.deltas({"messages": [*HI, earlier]}, answer, tooling=Tooling("kimi_k2"))
        ids = [call["id"] for delta in deltas for call in delta.get("tool_calls", ()) if "id" in call]
        self.assertEqual(["functions.get_w:2", "functions.get_w:3"], ids)

    def test_named(self) -> None:
        """A call that the request demanded by name ends with stop, as in vLLM."""
        choice = {"type": "function", "function": {"name": "get_w"}}
        [*_, end] = self.events({"tool_choice": choice}, composed(("call", 2, 1, ["{}"], "get_w")))
        self.assertEqual("stop", end["choices"][0]["finish_reason"])

    def test_cut_call(self) -> None:
        """A call that the limit cuts has the beginning of its arguments, the last of them with the end."""
        answer = composed(("call", 2, 0, ['{"', "city"], "get_w"), reason="length", more=0)
        [*_, end] = self.events({}, answer)
        self.assertEqual("length", end["choices"][0]["finish_reason"])
        self.assertEqual("city", end["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"])

    def test_named_and_cut(self) -> None:
        """A call that the limit cuts behind its name is told, with the end; one that it cuts before is not."""
        named = Answer(range(2), [""] * 2, [""] * 2, "length", parts=(Part("call", 0, 1, 2, 2, 2, "get_w"),))
        [*_, end] = self.events({}, named)
        self.assertEqual("length", end["choices"][0]["finish_reason"])
        [call] = end["choices"][0]["delta"]["tool_calls"]
        self.assertEqual((0, {"name": "get_w"}), (call["index"], call["function"]))
        unnamed = Answer(range(1), [""], [""], "length", parts=(Part("call", 0, 1, 1, 1, 1, "get_w"),))
        self.assertEqual([{}], self.deltas({}, unnamed))

    def test_hidden_reasoning(self) -> None:
        """Reasoning that the client does not want brings no chunk and counts all the same."""
        body = {"include_reasoning": False, "stream_options": {"include_usage": True}}
        events = self.events(body, composed(("reasoning", 1, 1, ["hm"], ""), ("text", 0, 1, ["yes"], ""), more=0))
        self.assertEqual(["", "yes", ""], [e["choices"][0]["delta"]["content"] for e in events[:-1]])
        self.assertEqual(
            (5, {"reasoning_tokens": 1}),
            (events[-1]["usage"]["completion_tokens"], events[-1]["usage"]["completion_tokens_details"]),
        )

    def test_nothing_but_reasoning(self) -> None:
        """Reasoning that the limit cuts ends in a chunk of reasoning."""
        deltas = self.deltas({}, composed(("reasoning", 1, 0, ["h", "m"], ""), reason="length", more=0))
        self.assertEqual([{"reasoning": "h"}, {"reasoning": "m"}], deltas)

    def test_continuous_usage(self) -> None:
        """Usage all along counts reasoning as it comes."""
        options = {"include_usage": True, "continuous_usage_stats": True}
        events = self.events({"stream_options": options}, RECORDED)
        counts = [e["usage"]["completion_tokens_details"]["reasoning_tokens"] for e in events]
        self.assertEqual([0, 1, 2, 3, 3], counts[:5])

    def test_ids(self) -> None:
        """With token ids, tags bring chunks with their ids and nothing else."""
        events = self.events({"return_token_ids": True}, RECORDED)
        self.assertEqual(list(range(29)), [token for e in events[1:] for token in e["choices"][0]["token_ids"]])
        self.assertEqual({}, events[1]["choices"][0]["delta"])

    def test_aborted(self) -> None:
        """A choice that ends without a further token has an empty text in its last chunk."""
        cut = Answer([0, 1, 2], ["", "a", "b"], ["", "a", "b"], "length", parts=(Part("reasoning", 0, 1, 1, 3, 3),))
        call = ChatDialect(settings()).parse(json.dumps({"messages": HI, "stream": True}).encode(), HEAD)
        assert call.stream_encoder is not None
        encoder = call.stream_encoder()
        encoder.opening([PROMPT], prefilled([PROMPT]))
        encoder.tokens(0, RECORDED, 0, 3)
        [end] = [json.loads(part[6:]) for part in encoder.tokens(0, cut, 3, 3).decode().split("\n\n")[:-1]]
        self.assertEqual(("length", {"content": ""}), (end["choices"][0]["finish_reason"], end["choices"][0]["delta"]))


class WholeTests(SynchronousTestCase):
    """Whole answers with parts."""

    def message(self, body: dict[str, Any], answer: Answer) -> Any:
        """Write an answer and read its message."""
        dialect = ChatDialect(settings(reasons=True))
        return json.loads(written(dialect, {"messages": HI, **body}, [PROMPT], [answer]))["choices"][0]["message"]

    def test_content(self) -> None:
        """Beside a call the content is null, or an empty text where the call was demanded."""
        call = composed(("call", 2, 1, ["{}"], "get_w"))
        self.assertIsNone(self.message({"tools": [WEATHER]}, call)["content"])
        self.assertEqual("", self.message({"tools": [WEATHER], "tool_choice": "required"}, call)["content"])

    def test_reasoning(self) -> None:
        """Reasoning has a member of its own, null if it is not wanted; alone, it leaves no content."""
        both = composed(("reasoning", 1, 1, ["hm"], ""), ("text", 0, 1, ["yes"], ""), more=0)
        message = self.message({}, both)
        self.assertEqual(("yes", "hm"), (message["content"], message["reasoning"]))
        self.assertIsNone(self.message({"include_reasoning": False}, both)["reasoning"])
        alone = self.message({}, composed(("reasoning", 1, 0, ["hm"], ""), reason="length", more=0))
        self.assertEqual((None, "hm"), (alone["content"], alone["reasoning"]))


class ImageTests(SynchronousTestCase):
    """Answers with images."""

    ANSWER = Answer([1, 2, 3], ["a ", "b", "<end>"], ["a ", "b", ""], "stop")

    def send(self, answer: Answer, **body: Any) -> bytes:
        """Write an answer with an image."""
        return written(ChatDialect(settings(wants_image=lambda _: True)), {"messages": HI, **body}, [PROMPT], [answer])

    def test_whole(self) -> None:
        """The content is a list: the text, if there is any, and the image."""
        content = json.loads(self.send(self.ANSWER))["choices"][0]["message"]["content"]
        self.assertEqual(["text", "image_url"], [block["type"] for block in content])
        self.assertEqual("a b", content[0]["text"])
        self.assertTrue(content[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR"))

    def test_stream(self) -> None:
        """Pieces of text are lists; the image comes in a chunk of its own before the end."""
        for answer in (self.ANSWER, Answer([1, 2], ["a ", "b"], ["a ", "b"], "length")):
            events = [json.loads(p[6:]) for p in self.send(answer, stream=True).decode().split("\n\n")[:-2]]
            deltas = [event["choices"][0]["delta"] for event in events[1:]]
            self.assertEqual(["a ", "b"], [delta["content"][0]["text"] for delta in deltas[:2]])
            self.assertEqual(("image_url", "image"), (deltas[2]["content"][0]["type"], events[3]["modality"]))
            self.assertEqual(({}, answer.finish_reason), (deltas[3], events[4]["choices"][0]["finish_reason"]))

    def test_no_text(self) -> None:
        """What a limit cuts comes before the image, whatever it is: pieces of calls and of reasoning are not lost."""
        dialect = ChatDialect(settings(wants_image=lambda _: True, reasons=True))
        body = {"messages": HI, "tools": [WEATHER], "stream": True}
        for kind, name, expected in (
            ("call", "get_w", {"content": None, "tool_calls": [{"index": 0, "function": {"arguments": "city"}}]}),
            ("reasoning", "", {"reasoning": "city"}),
        ):
            cut = composed((kind, 2, 0, ['{"', "city"], name), reason="length", more=0)
            events = written(dialect, body, [PROMPT], [cut]).decode().split("\n\n")[:-2]
            deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in events]
            self.assertEqual(expected, deltas[-3])
            self.assertEqual(("image_url", {}), (deltas[-2]["content"][0]["type"], deltas[-1]))
