# -*- test-case-name: tests.composing.test_calls -*-
"""Which tools an answer calls."""

import random
from collections.abc import Sequence

from vllmsim.structure import Tool, ToolUse


def choose_calls(use: ToolUse, extra: float, generator: random.Random) -> Sequence[Tool]:
    """Draw the tools that are called, as llm-d-inference-sim does.

    There are as many calls as there must be, then one more with the probability `extra`, again and again, up to as
    many as there are tools. Each is of any tool.

    :param extra: from 0 to 1.
    :return: the tools in the order of their calls; none where the answer is to be text.
    """
    count, most = use.least, min(use.most, len(use.tools))
    while count < most and generator.random() < extra:
        count += 1
    return [generator.choice(use.tools) for _ in range(count)]
