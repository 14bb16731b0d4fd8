# -*- test-case-name: tests.plugins.guards.test_latencies -*-
"""A latency model that comes from a plugin."""

import random
from typing import Any, Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.errors import InferenceError
from vllmsim.interfaces import ILatencyModel
from vllmsim.plugins.guards.blame import MISTAKES, Blame, Nonsense

LONGEST: Final = 1e6
"""The most seconds that a model may take; more is a mistake."""


@implementer(ILatencyModel)
@define(eq=False)
class GuardedLatency:
    """Looks at the times that a model draws. Whether it is instant is asked once, when it is made."""

    _model: ILatencyModel
    _blame: Blame
    instant: bool = field(init=False)
    """Whether tokens follow each other without any gap."""

    @instant.default
    def _ask_whether_instant(self) -> bool:
        return bool(self._model.instant)

    def time_to_first_token(
        self, prompt_tokens: int, cached_tokens: int, remote: bool, running: int, generator: random.Random
    ) -> float:
        """Draw the prefill's duration."""
        return self._drawn("time_to_first_token", prompt_tokens, cached_tokens, remote, running, generator)

    def inter_token_latency(self, running: int, generator: random.Random) -> float:
        """Draw the gap before the next token."""
        return self._drawn("inter_token_latency", running, generator)

    def image_latency(self, generator: random.Random) -> float:
        """Draw the time that an image takes after the text."""
        return self._drawn("image_latency", generator)

    def _drawn(self, method: str, *arguments: Any) -> float:
        try:
            seconds: Any = getattr(self._model, method)(*arguments)
            # No comparison holds for what is no number.
            if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST:
                raise Nonsense(f"it takes {seconds!r:.60} s, which is not from 0 to {LONGEST:g}")
        except InferenceError:
            raise
        except MISTAKES as error:
            raise self._blame.tell(error) from error
        return seconds
