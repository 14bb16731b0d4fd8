"""The custom-histogram-buckets option."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.buckets import BUCKET_FAMILIES, parse_buckets, write_buckets

FAULTS: list[tuple[Any, str]] = [
    ([], "not a map"),
    ({"bogus": [1]}, "'bogus' is none of request_latency"),
    ({"request_tokens": []}, "1 to 200"),
    ({"request_tokens": [1] * 201}, "1 to 200"),
    ({"request_tokens": 5}, "list"),
    ({"request_tokens": [1, "2"]}, "list of numbers"),
    ({"request_tokens": [True]}, "list of numbers"),
    ({"request_tokens": [0, 1]}, "above 0 and ascending"),
    ({"request_tokens": [1, 1]}, "above 0 and ascending"),
    ({"request_tokens": [1, 3, 2]}, "above 0 and ascending"),
    ({"request_tokens": [1, float("inf")]}, "above 0 and ascending"),
    ({"request_tokens": [1, float("nan"), 3]}, "above 0 and ascending"),
]


class BucketTests(SynchronousTestCase):
    """Reading and checking."""

    def test_round_trip(self) -> None:
        """Bounds of every family are read, and read back as they are written."""
        buckets = parse_buckets({name: [1, 2.5] for name in BUCKET_FAMILIES})
        self.assertEqual(dict.fromkeys(BUCKET_FAMILIES, (1.0, 2.5)), buckets)
        self.assertEqual(buckets, parse_buckets(write_buckets(buckets)))

    def test_faults(self) -> None:
        """Families that are none, and bounds that cannot be, are named."""
        for value, fault in FAULTS:
            self.assertIn(fault, str(self.assertRaises(ValueError, parse_buckets, value)))

    def test_option(self) -> None:
        """The command line takes them as JSON, as vLLM's does."""
        words = ("--custom-histogram-buckets", '{"request_latency": [0.01, 30]}')
        self.assertEqual(
            {"request_latency": (0.01, 30.0)}, load_words(words, {}).configuration.custom_histogram_buckets
        )
