"""Answers to Messages requests, byte for byte."""

import json
import re
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import CHAT_PROMPT, EOS, HEAD, answer, normal, prompt, recorded, settings
from tests.fakes import prefilled
from vllmsim.api.messages.dialect import MessagesDialect
from vllmsim.errors import QueueFull, Unavailable
from vllmsim.inference import NOTHING_SAID, Answer, Part, Span

HI = {"model": "m1", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
ABCD = answer(71, 72, 227, 73, 74, EOS)
TOOLS = [{"name": "get_w", "input_schema": {"type": "object"}}]


def spoken(*parts: tuple[str, list[str]], reason: str = "stop", ended: bool = True, name: str = "get_w") -> Answer:
    """Make an answer of parts: reasoning and calls are between tags, and a call has a name before its arguments."""
    texts: list[str] = []
    shown: list[str] = []
    made: list[Part] = []
    for kind, said in parts:
        tags = 0 if kind == "text" else 1
        start = len(texts)
        before = ["<t>"] * tags + ([name] if kind == "call" else [])
        texts += [*before, *said, *["</t>"] * tags]
        shown += ["" for _ in before] + said + [""] * tags
        first = start + len(before)
        last = first + len(said)
        made.append(Part(kind, start, start + tags, first, last, last + tags, name if kind == "call" else ""))  # type: ignore[arg-type]
    if ended:
        texts.append("<|im_end|>")
        shown.append("")
    return Answer(range(len(texts)), texts, shown, reason, parts=tuple(made))  # type: ignore[arg-type]


def cut(whole: Answer, length: int) -> Answer:
    """Cut an answer where a limit does."""
    return evolve(whole.aborted(length), finish_reason="length")


THOUGHT = ("reasoning", ["think", " ", "a"])
CALLED = spoken(THOUGHT, ("text", ["\n"]), ("call", ['{"', "city", '":', ' "', "S", "F", '"}']))


def sent(
    said: Answer,
    cached_tokens: int = 0,
    ids: list[int] | None = None,
    media: Sequence[Span] = (),
    step: int = 1,
    **more: Any,
) -> bytes:
    """Write an answer, a stream so many tokens at a time.

    :param more: fields of the request, and settings of the server.
    """
    fields = ("stream", "tools", "tool_choice", "kv_transfer_params", "messages")
    body = {name: more.pop(name) for name in fields if name in more}
    call = MessagesDialect(settings(**more)).parse(json.dumps(HI | body).encode(), HEAD)
    prompts = [prompt(ids or CHAT_PROMPT, "", *media)]
    prefill = prefilled(prompts, cached_tokens)
    said = evolve(said, prefill=prefill)
    if call.stream_encoder is None:
        return call.whole_encoder().body(prompts, prefill, [said])
    encoder = call.stream_encoder()
    runs = [encoder.tokens(0, said, token, min(len(said), token + step)) for token in range(0, len(said), step)]
    return b"".join([encoder.opening(prompts, prefill), *runs, encoder.closing()])


def events(said: Answer, **more: Any) -> list[dict[str, Any]]:
    """Write a stream and read its events."""
    pairs = [event.split("\n") for event in sent(said, stream=True, **more).decode().split("\n\n")[:-1]]
    read = [json.loads(data.removeprefix("data: ")) for _, data in pairs]
    assert [f"event: {each['type']}" for each in read] == [name for name, _ in pairs]
    return read


def plain(data: bytes) -> bytes:
    """Take out ids, signatures, and how many tokens the tags of the recorded model are."""
    data = re.sub(rb'"chatcmpl-tool-[0-9a-f]{16}"', b'"chatcmpl-tool-ID"', normal(data))
    data = re.sub(rb'"signature":"[0-9a-f]{32}"', b'"signature":"S"', data)
    return data.replace(b'"output_tokens":29', b'"output_tokens":%d' % len(CALLED))


class RecordingTests(SynchronousTestCase):
    """What vLLM sent."""

    def test_text(self) -> None:
        """Answers of text have vLLM's bytes."""
        self.assertEqual(plain(recorded("msg")), plain(sent(answer(71, 72, 227, 73, 74, reason="length"))))
        self.assertEqual(plain(recorded("msgstream")), plain(sent(ABCD, stream=True)))

    def test_reasoning_and_calls(self) -> None:
        """Answers with reasoning and a call have vLLM's bytes, and usage tells of cached tokens at the end alone."""
        server: dict[str, Any] = {
            "reasons": True, "prompt_tokens_details": True, "cached_tokens": 16, "ids": [*range(22)], "tools": TOOLS
        }  # fmt: skip
        self.assertEqual(plain(recorded("msg_tool")), plain(sent(CALLED, **server)))
        self.assertEqual(plain(recorded("msg_tool_stream")), plain(sent(CALLED, stream=True, **server)))


class StreamTests(SynchronousTestCase):
    """Streams of events."""

    def kinds(self, said: Answer, **more: Any) -> list[str]:
        """List the types of a stream's events, of blocks and deltas too, between its first and its last two."""
        names = []
        for each in events(said, **more)[1:-2]:
            inner = each.get("delta") or each.get("content_block") or {"type": "stop"}
            names.append(f"{each['index']} {inner['type']}")
        return names

    def test_runs_are_the_same_as_single_tokens(self) -> None:
        """However many tokens come at once, the bytes of the stream are the same."""
        for said in (ABCD, CALLED, cut(CALLED, 9)):
            streams = []
            for step in (1, 2, 3, 5, 30):
                call = MessagesDialect(settings()).parse(json.dumps(HI | {"stream": True}).encode(), HEAD)
                assert call.stream_encoder is not None
                encoder = call.stream_encoder()
                runs = [encoder.tokens(0, said, i, min(i + step, len(said))) for i in range(0, len(said), step)]
                streams.append(b"".join([*runs, encoder.closing()]))
            self.assertEqual(1, len(set(streams)))

    def test_escapes(self) -> None:
        """Text of any kind comes back to the byte, what looks like JSON and line ends among it."""
        texts = ['"\\', "\n\ndata: x", "é漢🙂\u2028", "\ue000text\ue000"]
        said = Answer(range(4), texts, texts, "length")
        deltas = [each["delta"]["text"] for each in events(said) if each["type"] == "content_block_delta"]
        self.assertEqual(texts, deltas)

    def test_several_calls(self) -> None:
        """Each call is a block, with its own id and pieces of its input; the next block stops the one before."""
        ids = iter(f"{i:016x}" for i in range(9))
        said = spoken(("call", ['{"a"', ":1}"]), ("call", ["{}"]))
        names = ["0 tool_use", *["0 input_json_delta"] * 2, "0 stop", "1 tool_use", "1 input_json_delta", "1 stop"]
        self.assertEqual(names, self.kinds(said))
        blocks = [each["content_block"] for each in events(said, new_id=lambda: next(ids)) if "content_block" in each]
        expected = [{"type": "tool_use", "id": f"chatcmpl-tool-{i:016x}", "name": "get_w", "input": {}} for i in (1, 2)]
        self.assertEqual(expected, blocks)

    def test_reasoning_that_reaches_the_limit(self) -> None:
        """Reasoning that never ends is signed and stopped all the same, and no text follows."""
        said = cut(spoken(THOUGHT, ("text", ["b"])), 3)
        self.assertEqual(
            ["0 thinking", *["0 thinking_delta"] * 2, "0 signature_delta", "0 stop"],
            self.kinds(said),
        )
        self.assertEqual({"stop_reason": "max_tokens", "stop_sequence": None}, events(said)[-2]["delta"])

    def test_calls_that_reach_the_limit(self) -> None:
        """A call that the limit cuts is a block with what there is of its input; without its name it is none."""
        said = spoken(("call", ['{"a"', ":1}"]))
        self.assertEqual(["0 tool_use", "0 input_json_delta", "0 stop"], self.kinds(cut(said, 3)))
        self.assertEqual(["0 tool_use", "0 stop"], self.kinds(cut(said, 2)))
        self.assertEqual([], self.kinds(cut(said, 1)))
        self.assertEqual("max_tokens", events(cut(said, 3))[-2]["delta"]["stop_reason"])

    def test_nothing(self) -> None:
        """An answer that says nothing has no block: there is no delta to begin one."""
        for said in (answer(EOS), answer(71, stop="a", pieces=[""])):
            self.assertEqual([], self.kinds(said))

    def test_text_that_is_held_back(self) -> None:
        """Tokens that show nothing yet bring no event, and the block begins with the first that does."""
        said = answer(71, 72, 227, 73, 74, stop="cd", pieces=["", "a", "b", " ", ""])
        deltas = [each["delta"] for each in events(said) if each["type"] == "content_block_delta"]
        self.assertEqual([{"type": "text_delta", "text": text} for text in ("a", "b", " ")], deltas)
        self.assertEqual({"stop_reason": "stop_sequence", "stop_sequence": "cd"}, events(said)[-2]["delta"])

    def test_interval(self) -> None:
        """With an interval the first token of a block comes alone, then so many at a time, and the rest at its end."""
        texts = [each["delta"]["text"] for each in events(ABCD, stream_interval=3) if "text" in each.get("delta", {})]
        self.assertEqual(["a", "b c", "d"], texts)
        said = spoken(("reasoning", list("abcdef")), ("text", list("ghijk")))
        pieces = [
            each["delta"].get("text") or each["delta"].get("thinking")
            for each in events(said, stream_interval=4)
            if each.get("index") is not None and each.get("delta", {"type": "signature_delta"})["type"][0] == "t"
        ]
        self.assertEqual(["a", "bcde", "f", "g", "hijk"], pieces)

    def test_together(self) -> None:
        """What a step gives of a block may come as one delta."""
        said = spoken(("reasoning", list("abcdef")), ("text", list("ghijk")))
        pieces = [
            each["delta"].get("text") or each["delta"].get("thinking")
            for each in events(said, step=4, together=True)
            if each.get("index") is not None and each.get("delta", {"type": "signature_delta"})["type"][0] == "t"
        ]
        self.assertEqual(["abc", "def", "ghij", "k"], pieces)

    def test_abort(self) -> None:
        """An answer that is aborted ends without a reason, and what was gathered is not lost."""
        call = MessagesDialect(settings(stream_interval=4)).parse(json.dumps(HI | {"stream": True}).encode(), HEAD)
        assert call.stream_encoder is not None
        encoder = call.stream_encoder()
        encoder.tokens(0, ABCD, 0, 3)
        rest = encoder.tokens(0, ABCD.aborted(3), 3, 3) + encoder.closing()
        read = [json.loads(line[6:]) for line in rest.decode().split("\n") if line.startswith("data: ")]
        self.assertEqual(
            ["content_block_delta", "content_block_stop", "message_delta", "message_stop"],
            [each["type"] for each in read],
        )
        self.assertEqual("b ", read[0]["delta"]["text"])
        self.assertEqual({"stop_reason": None, "stop_sequence": None}, read[2]["delta"])
        self.assertEqual(3, read[2]["usage"]["output_tokens"])
        encoder = call.stream_encoder()
        self.assertEqual(b"", encoder.tokens(0, NOTHING_SAID, 0, 0))
        self.assertTrue(encoder.closing().startswith(b"event: message_delta\n"))

    def test_failure(self) -> None:
        """An error in mid-stream is an event of its own, and the last."""
        call = MessagesDialect(settings()).parse(json.dumps(HI | {"stream": True}).encode(), HEAD)
        assert call.stream_encoder is not None
        self.assertEqual(
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Stopping."}}\n\n',
            call.stream_encoder().failure(Unavailable("Stopping.")),
        )
        self.assertIn(b'"rate_limit_error"', call.stream_encoder().failure(QueueFull("Full.")))


class WholeTests(SynchronousTestCase):
    """Answers in one piece."""

    def whole(self, said: Answer, **more: Any) -> Any:
        """Write an answer and read it."""
        return json.loads(sent(said, **more))

    def test_ends(self) -> None:
        """Every end has Anthropic's name for it; a member without a value is left out."""
        forced = {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "get_w"}}
        for said, fields, expected in (
            (ABCD, {}, ("end_turn", None)),
            (answer(71, reason="length"), {}, ("max_tokens", None)),
            (answer(71, 72, stop="b"), {}, ("stop_sequence", "b")),
            (answer(71, 72, stop=72), {}, ("end_turn", None)),
            (CALLED, {"tools": TOOLS}, ("tool_use", None)),
            (CALLED, forced, ("end_turn", None)),
            (cut(CALLED, 9), {"tools": TOOLS}, ("max_tokens", None)),
            (ABCD.aborted(2), {}, (None, None)),
        ):
            message = self.whole(said, **fields)
            self.assertEqual(expected, (message.get("stop_reason"), message.get("stop_sequence")))
            self.assertNotIn(None, message.values())

    def test_same_as_streamed(self) -> None:
        """A stream that is gathered is the answer in one piece."""
        said = spoken(THOUGHT, ("text", ["b", "c"]), ("call", ['{"a"', ": 1}"]))
        blocks: list[dict[str, Any]] = []
        for each in events(said):
            if each["type"] == "content_block_start":
                blocks.append(each["content_block"])
            elif each["type"] == "content_block_delta":
                for member, text in each["delta"].items():
                    if member != "type":
                        blocks[-1][member] = blocks[-1].get(member, "") + text
        blocks[-1]["input"] = json.loads(blocks[-1].pop("partial_json"))
        self.assertEqual(blocks, self.whole(said)["content"])

    def test_nothing(self) -> None:
        """An answer that says nothing has a block without text: clients look at the first."""
        for said in (answer(EOS), NOTHING_SAID, cut(spoken(THOUGHT), 1)):
            self.assertEqual([{"type": "text", "text": ""}], self.whole(said)["content"])

    def test_inputs(self) -> None:
        """Input is JSON of any kind, and numbers stay as they are; of input that the limit has cut nothing is left."""
        for arguments, expected in (
            ('{"a": 1.50, "b": 100000000000000000000000, "c": "é\\u2028"}', {"a": 1.5, "b": 10**23, "c": "é\u2028"}),
            ("{}", {}),
            ('{"a": "unfin', {}),
            ("", {}),
        ):
            [block] = self.whole(spoken(("call", [arguments])))["content"]
            self.assertEqual(expected, block["input"])

    def test_text_beside_calls(self) -> None:
        """Text before calls is a block of its own, unless it is blank."""
        for text, expected in (("Let me see.", ["text", "tool_use"]), (" \n", ["tool_use"])):
            blocks = self.whole(spoken(("text", [text]), ("call", ["{}"])))["content"]
            self.assertEqual(expected, [block["type"] for block in blocks])
        self.assertEqual([{"type": "text", "text": "\n"}], self.whole(spoken(("text", ["\n"])))["content"])

    def test_transfer(self) -> None:
        """A prefill server tells where the prompt's blocks are, an encoder where its outputs; others tell nothing."""
        message = self.whole(ABCD, kv_transfer_params={"do_remote_decode": True})
        self.assertTrue(message["kv_transfer_params"]["do_remote_prefill"])
        message = self.whole(ABCD, encoder_only=True, media=[Span("a", 0, 3), Span("b", 3, 1)])
        self.assertEqual(["a", "b"], list(message["ec_transfer_params"]))
        self.assertEqual("usage", list(self.whole(ABCD))[-1])

    def test_usage(self) -> None:
        """Without details the prompt is one number; with them cached tokens are counted apart."""
        self.assertEqual({"input_tokens": 16, "output_tokens": 6}, self.whole(ABCD, cached_tokens=4)["usage"])
        usage = self.whole(ABCD, cached_tokens=4, prompt_tokens_details=True)["usage"]
        self.assertEqual((12, 4), (usage["input_tokens"], usage["cache_read_input_tokens"]))
