# -*- test-case-name: tests.metrics.test_toolcalls -*-
"""How often a server has looked for calls of tools in what the model says, where the model is free to call.

vLLM's parser looks once at each choice that it answers as a whole, and at each piece of one that it streams: what has a
part of a call is a ``tool_call``, anything else ``no_tool_call``. Pieces of reasoning it does not look at.
"""

from collections.abc import Iterator
from itertools import product
from typing import Final

from vllmsim.inference import Answer, Part
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Counter
from vllmsim.structure import Parsing

_MODES: Final = ("streaming", "non_streaming")
_OUTCOMES: Final = ("tool_call", "no_tool_call")
_SURFACES: Final = ("chat_completions", "responses", "other")


class ToolCallMetrics:
    """Counts looks at answers.

    :param families: where its family goes.
    """

    def __init__(self, families: Families, model_name: str) -> None:
        text = "Looks for calls of tools: at each choice of a whole answer, at each piece of a streamed one."
        family = families.family("vllm:tool_call_parser_invocations", text, Counter)
        self._looks: dict[tuple[str, str, str], Counter] = {}
        for mode, outcome, surface in product(_MODES, _OUTCOMES, _SURFACES):
            labels = {"mode": mode, "model_name": model_name, "outcome": outcome, "request_type": surface}
            self._looks[mode, outcome, surface] = family.add(Counter(), labels)

    def parsed(self, parsing: Parsing, answer: Answer) -> None:
        """Count the looks at a whole answer."""
        if parsing.interval is None:
            outcome = "tool_call" if any(_calls(answer.parts)) else "no_tool_call"
            self._looks["non_streaming", outcome, parsing.surface].value += 1
            return
        calls, others = _pieces(answer, parsing.interval)
        self._looks["streaming", "tool_call", parsing.surface].value += calls
        self._looks["streaming", "no_tool_call", parsing.surface].value += others


def _pieces(answer: Answer, interval: int) -> tuple[int, int]:
    """Count the pieces of a streamed answer that have a part of a call, and those that have none and are not reasoned.

    The first piece is the first token, and each further one so many tokens.
    """
    length = len(answer)
    first = next((part.start for part in answer.parts if part.kind != "reasoning"), 0 if not answer.parts else length)
    whole = _piece(length - 1, interval) - _piece(first, interval) + 1 if first < length else 0
    calls, counted = 0, -1
    for start, stop in _calls(answer.parts):
        from_piece, to_piece = max(counted + 1, _piece(start, interval)), _piece(stop - 1, interval)
        calls += to_piece + 1 - from_piece
        counted = to_piece
    return calls, max(0, whole - calls)


def _calls(parts: tuple[Part, ...]) -> Iterator[tuple[int, int]]:
    """Find the tokens of calls with which clients learn something."""
    shown = (part for part in parts if part.kind == "call" and part.opens < part.stop)
    return ((part.opens, max(part.last, part.opens + 1)) for part in shown)


def _piece(token: int, interval: int) -> int:
    """Tell in which piece a token is."""
    return -(-token // interval)
