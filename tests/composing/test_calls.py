"""Which tools are called."""

import random
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.composing.calls import choose_calls
from vllmsim.structure import Tool, ToolUse

TOOLS = tuple(Tool(name, {}) for name in "abcde")


class ChoiceTests(SynchronousTestCase):
    """How many calls, and of what."""

    def counts(self, use: ToolUse, extra: float, trials: int = 2000) -> Counter[int]:
        """Count the calls of many answers."""
        generator = random.Random(1)
        return Counter(len(choose_calls(use, extra, generator)) for _ in range(trials))

    def test_bounds(self) -> None:
        """Without extra calls there are as few as may be, with certain ones as many as there are tools."""
        self.assertEqual({0: 2000}, self.counts(ToolUse(TOOLS, 0, 5), 0))
        self.assertEqual({1: 2000}, self.counts(ToolUse(TOOLS, 1, 5), 0))
        self.assertEqual({5: 2000}, self.counts(ToolUse(TOOLS, 1, 5), 1))
        self.assertEqual({1: 2000}, self.counts(ToolUse(TOOLS, 0, 1), 1))
        self.assertEqual({1: 2000}, self.counts(ToolUse(TOOLS[:1], 1, 5), 1))

    def test_chance(self) -> None:
        """With 45 % each further call is less likely, and every number of calls happens."""
        counts = self.counts(ToolUse(TOOLS, 1, 5), 0.45)
        self.assertEqual({1, 2, 3, 4, 5}, set(counts))
        self.assertTrue(1000 < counts[1] < 1200)

    def test_any_tool(self) -> None:
        """Every tool is called sooner or later, one of them twice in an answer too."""
        generator = random.Random(1)
        called = [[tool.name for tool in choose_calls(ToolUse(TOOLS, 1, 5), 0.8, generator)] for _ in range(200)]
        self.assertEqual(set("abcde"), {name for names in called for name in names})
        self.assertTrue(any(len(set(names)) < len(names) for names in called))
