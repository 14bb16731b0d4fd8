"""Looks for calls of tools."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.reading import read
from vllmsim.inference import Answer, Part
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.toolcalls import ToolCallMetrics
from vllmsim.structure import Parsing

REASONING, CALL = Part("reasoning", 0, 1, 1, 3, 4), Part("call", 4, 5, 6, 8, 9, "f")
TEXT = Part("text", 9, 9, 9, 12, 12)


def said(*parts: Part, length: int = 10) -> Answer:
    """Make an answer of some parts."""
    return Answer(range(length), ["x"] * length, ["x"] * length, "stop", parts=parts)


class ToolCallTests(SynchronousTestCase):
    """What is counted."""

    def setUp(self) -> None:
        """Have the metrics."""
        self.families = Families({"engine": "0"})
        self.metrics = ToolCallMetrics(self.families, "m")

    def counts(self) -> dict[tuple[str, ...], float]:
        """Read all that is not zero, by mode, outcome and type of request."""
        values = {}
        for (_, labels), value in read(self.families).items():
            by_name = dict(labels)
            self.assertEqual("m", by_name["model_name"])
            values[by_name["mode"], by_name["outcome"], by_name["request_type"]] = value
        self.assertEqual(12, len(values))
        return {key: value for key, value in values.items() if value}

    def streamed(self, answer: Answer, interval: int) -> tuple[float, float]:
        """Stream an answer, and tell how many looks found a part of a call, and how many none."""
        self.setUp()
        self.metrics.parsed(Parsing("other", interval), answer)
        counts = self.counts()
        return counts.get(("streaming", "tool_call", "other"), 0), counts.get(("streaming", "no_tool_call", "other"), 0)

    def test_whole(self) -> None:
        """A whole answer is looked at once, and has a call or none."""
        self.assertEqual({}, self.counts())
        for parts in ((REASONING, CALL), (CALL, TEXT), (TEXT,), ()):
            self.metrics.parsed(Parsing("responses"), said(*parts))
        self.metrics.parsed(Parsing("chat_completions"), said(CALL))
        expected = {
            ("non_streaming", "tool_call", "responses"): 2,
            ("non_streaming", "no_tool_call", "responses"): 2,
            ("non_streaming", "tool_call", "chat_completions"): 1,
        }
        self.assertEqual(expected, self.counts())

    def test_cut(self) -> None:
        """A call of which clients see nothing is none."""
        answer = said(REASONING, CALL.cut(5), length=5)
        self.metrics.parsed(Parsing("other"), answer)
        self.assertEqual({("non_streaming", "no_tool_call", "other"): 1}, self.counts())
        self.assertEqual((0, 1), self.streamed(answer, 1))

    def test_streamed(self) -> None:
        """A streamed one is looked at with each token behind the reasoning; those that tell of a call have one."""
        self.assertEqual((3, 3), self.streamed(said(REASONING, CALL), 1))
        self.assertEqual((1, 1), self.streamed(said(REASONING, CALL.cut(6), length=6), 1))
        self.assertEqual((0, 10), self.streamed(said(), 1))
        self.assertEqual((0, 0), self.streamed(said(REASONING, length=4), 1))
        self.assertEqual((0, 0), self.streamed(said(length=0), 1))

    @given(st.integers(1, 20), st.integers(0, 3), st.integers(0, 12))
    def test_pieces(self, interval: int, reasoned: int, tail: int) -> None:
        """Pieces of several tokens are looked at once each, whatever they begin and end with."""
        parts, at = [], 0
        if reasoned:
            parts.append(Part("reasoning", 0, 0, 0, reasoned, reasoned))
            at = reasoned
        for _ in range(2):
            parts.append(Part("call", at, at + 1, at + 2, at + 4, at + 5, "f"))
            at += 5
        length = at + tail
        telling = {token for part in parts if part.kind == "call" for token in range(part.opens, part.last)}
        pieces = [{0}, *({*range(first, min(first + interval, length))} for first in range(1, length, interval))]
        looked = [piece for piece in pieces if max(piece) >= reasoned]
        calls = sum(bool(piece & telling) for piece in looked)
        self.assertEqual((calls, len(looked) - calls), self.streamed(said(*parts, length=length), interval))
