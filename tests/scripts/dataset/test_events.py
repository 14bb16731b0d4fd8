"""What a record keeps of a stream."""

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Tokens
from vllmsim.scripts.dataset import events
from vllmsim.scripts.dataset.events import Broken, Recording
from vllmsim.scripts.dataset.faults import BadItem

GOLDEN = Path(__file__).parents[2] / "golden" / "vllm-0.33"
DONE = b"data: [DONE]\n\n"


def event(*choices: dict[str, Any], **more: Any) -> bytes:
    """Write an event."""
    return b"data: " + json.dumps({"choices": choices, **more}).encode() + b"\n\n"


def said(text: str, *ids: int, **more: Any) -> bytes:
    """Write an event of a chat."""
    return event({"index": 0, "delta": {"content": text}, "finish_reason": None, "token_ids": [*ids], **more})


def read(*data: bytes) -> Recording:
    """Read a whole stream, and look whether it can be kept."""
    recording = Recording()
    for each in data:
        recording.received(each)
    recording.check()
    return recording


class StreamTests(SynchronousTestCase):
    """Bytes in, tokens out."""

    def test_recorded(self) -> None:
        """What a real vLLM streams tells the prompt's ids, and each token with its text."""
        recording = read((GOLDEN / "chatstream_lp_ids.txt").read_bytes())
        self.assertEqual([1, 91, 89, 282, 205, 78, 79, 2, 1, 71, 89, 89, 264, 90, 281, 90], recording.prompt)
        self.assertEqual((Tokens((71, 72), ("a", "b")), "ab"), (recording.tokens, recording.text))

    def test_without_ids(self) -> None:
        """A server that tells no ids has said a text, and no tokens."""
        recording = read((GOLDEN / "compstream.txt").read_bytes())
        self.assertEqual((None, None, "ab cd"), (recording.prompt, recording.tokens, recording.text))

    def test_cut(self) -> None:
        """Wherever the network cuts the bytes, the tokens are the same."""
        data = event(prompt_token_ids=[1], prompt_text="x") + said("né", 5) + said("", 2, finish_reason="stop") + DONE
        for size in range(1, len(data)):
            recording = read(*(data[start : start + size] for start in range(0, len(data), size)))
            self.assertEqual(
                ([1], "x", Tokens((5,), ("né",))), (recording.prompt, recording.prompt_text, recording.tokens)
            )

    def test_pieces(self) -> None:
        """A character over several tokens is the last one's; so is the text of several tokens in one event."""
        recording = read(
            event(prompt_token_ids=[1]),
            said("", 5),
            said("é", 6),
            said("ab", 7, 8),
            said("!", 9, finish_reason="length"),
            DONE,
        )
        self.assertEqual(Tokens((5, 6, 7, 8, 9), ("", "é", "", "ab", "!")), recording.tokens)

    def test_late_text(self) -> None:
        """Text that is held back and comes without a token belongs to the one before it."""
        recording = read(event(prompt_token_ids=[1]), said("a", 5), said("b", finish_reason="stop"), DONE)
        self.assertEqual(Tokens((5,), ("ab",)), recording.tokens)

    def test_end(self) -> None:
        """The token that ends an answer is left out, and one that a limit or a stop text cuts off is not."""
        first = event(prompt_token_ids=[1]), said("a", 5)
        for last, ids in (
            (said("", 2, finish_reason="stop"), (5,)),
            (said("", 2, finish_reason="stop", stop_reason=2), (5,)),
            (said("b", 6, 2, finish_reason="stop"), (5, 6)),
            (said("b", 6, finish_reason="length"), (5, 6)),
            (said("", 6, finish_reason="stop", stop_reason="b"), (5, 6)),
        ):
            tokens = read(*first, last, DONE).tokens
            assert tokens is not None
            self.assertEqual(ids, tokens.ids)

    def test_reasoning(self) -> None:
        """What a model thinks is part of what it says."""
        for name in ("reasoning", "reasoning_content"):
            thought = event({"index": 0, "delta": {name: "hm"}, "token_ids": [5]}, prompt_token_ids=[1])
            recording = read(thought, said("a", 6, finish_reason="length"), DONE)
            self.assertEqual(Tokens((5, 6), ("hm", "a")), recording.tokens)


class RefusalTests(SynchronousTestCase):
    """What is not kept."""

    def test_broken(self) -> None:
        """An answer without its end, with an error in it, or with something else is tried again."""
        for data, fault in (
            (said("a", 5), "the answer has no end"),
            (said("a", 5) + DONE, "the answer has no end"),
            (said("a", 5, finish_reason="abort") + DONE, "the answer has no end"),
            (b'data: {"error": {"message": "it broke", "code": 500}}\n\n', "the server broke off: it broke"),
            (b'data: {"error": "it broke"}\n\n', "the server broke off: it broke"),
            (b"data: [1]\n\n", "the server sent b'[1]', which is no chunk of an answer"),
            (b"data: x\n\n", "the server sent b'x', which is no chunk of an answer"),
            (event({"delta": 5}), f"the server sent {event({'delta': 5})[6:-2]!r}, which is no chunk of an answer"),
            (b'{"choices": []}', "the answer has no end"),
        ):
            self.assertEqual(fault, str(self.assertRaises(Broken, read, data)))
        for reason in (["stop"], {"a": 1}, 5):
            self.assertIn(
                "is no chunk", str(self.assertRaises(Broken, read, said("a", 5, finish_reason=reason) + DONE))
            )

    def test_endless_line(self) -> None:
        """A line without an end takes no longer than its bytes do."""
        recording, piece = Recording(), b"x" * 256
        recording.received(b"data: ")
        with self.assertRaises(BadItem):
            for _ in range(1 << 19):
                recording.received(piece)

    def test_useless(self) -> None:
        """An answer that is empty, calls a tool, or has ids that are none is no record."""
        call = event({"index": 0, "delta": {"tool_calls": [{"index": 0}]}, "finish_reason": "tool_calls"})
        for data, reason in (
            (said("", 2, finish_reason="stop"), "the server's answer is empty"),
            (call, "the server's answer calls tools"),
            (
                event(prompt_token_ids=[-1]) + said("a", 5, finish_reason="stop"),
                "the server tells token ids that are none",
            ),
            (
                event(prompt_token_ids=[1]) + said("a", 2**32, finish_reason="length"),
                "the server tells token ids that are none",
            ),
        ):
            self.assertEqual(reason, self.assertRaises(BadItem, read, data, DONE).reason)

    def test_long(self) -> None:
        """A stream without an end is given up."""
        self.patch(events, "_LONGEST", 1000)
        self.assertRaises(BadItem, read, *[b"data: {}" * 10] * 20)
