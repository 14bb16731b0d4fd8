"""The values that travel between the rooms."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.errors import InvalidRequest
from vllmsim.inference import Prefill
from vllmsim.sampling import Sampling

OUT_OF_RANGE: list[tuple[dict[str, Any], str, str | None]] = [
    ({"n": 0}, "n must be at least 1, got 0.", None),
    ({"n": 20000}, "n must be at most 16384, got 20000.", None),
    ({"n": 2, "temperature": 0.0}, "n must be 1 when using greedy sampling, got 2.", None),
    ({"presence_penalty": 3.0}, "presence_penalty must be in [-2, 2], got 3.0.", None),
    ({"frequency_penalty": -3.0}, "frequency_penalty must be in [-2, 2], got -3.0.", None),
    ({"repetition_penalty": 0.0}, "repetition_penalty must be greater than zero, got 0.0.", None),
    ({"temperature": 3.0}, "temperature must be in [0, 2], got 3.0.", "temperature"),
    ({"temperature": -1.0}, "temperature must be non-negative, got -1.0.", "temperature"),
    ({"temperature": float("nan")}, "temperature must be in [0, 2], got nan.", "temperature"),
    ({"top_p": 0.0}, "top_p must be in (0, 1], got 0.0.", "top_p"),
    ({"top_k": -5}, "top_k must be 0 (disable), or at least 1, got -5.", None),
    ({"min_p": 2.0}, "min_p must be in [0, 1], got 2.0.", None),
    ({"min_tokens": -1}, "min_tokens must be greater than or equal to 0, got -1.", None),
    ({"min_tokens": 3, "max_tokens": 2}, "min_tokens must be less than or equal to max_tokens=2, got 3.", None),
    ({"stop": ("",)}, "stop cannot contain an empty string.", None),
]


class PrefillTests(SynchronousTestCase):
    """Where a prompt's tokens come from."""

    def test_created(self) -> None:
        """Full blocks of which something was computed here are new; what was fetched or found fills none."""
        for prefill, created in (
            (Prefill(15), 0),
            (Prefill(16), 16),
            (Prefill(40), 32),
            (Prefill(40, cached=16), 16),
            (Prefill(40, cached=32), 0),
            (Prefill(32, external=31), 0),
            (Prefill(64, cached=16, external=20), 16),
        ):
            self.assertEqual(created, prefill.created(16), prefill)


class SamplingTests(SynchronousTestCase):
    """The ranges of sampling parameters."""

    def test_out_of_range(self) -> None:
        """Each parameter out of range is refused with vLLM's text."""
        for fields, message, param in OUT_OF_RANGE:
            error = self.assertRaises(InvalidRequest, Sampling(**fields).check, fields.get("max_tokens", 100))
            self.assertTrue(error.message.startswith(message), (fields, error.message))
            self.assertEqual(param, error.param)

    def test_in_range(self) -> None:
        """The edges of each range are in it."""
        Sampling(n=16384, temperature=2.0, top_p=1.0, top_k=-1, min_p=1.0, min_tokens=2).check(2)
        Sampling(temperature=0.0, presence_penalty=-2.0, frequency_penalty=2.0, repetition_penalty=0.1).check(1)
