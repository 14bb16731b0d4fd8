"""How deep a body may be nested, and how much a list in it may hold."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.body import Head, read_object
from vllmsim.api.extent import Extent
from vllmsim.errors import MalformedRequest


class ExtentTests(SynchronousTestCase):
    """Bodies that keep to the limits, and others."""

    extent = Extent(depth=3, items=4)

    def read(self, body: Any) -> Any:
        """Read a body under the limits."""
        return read_object(json.dumps(body).encode(), Head("application/json", extent=self.extent))

    def refusal(self, body: Any) -> MalformedRequest:
        """Find out why one is refused."""
        error: MalformedRequest = self.assertRaises(MalformedRequest, self.read, body)
        return error

    def test_depth(self) -> None:
        """As many levels are read as are allowed, and not one more."""
        self.assertEqual({"a": [{"b": 1}]}, self.read({"a": [{"b": 1}]}))
        self.assertEqual(
            "The request body is more than the 3 levels deep that max-json-depth allows.",
            self.refusal({"a": [1, {"b": {}}]}).message,
        )

    def test_broad(self) -> None:
        """Many lists beside each other are not deep."""
        self.assertEqual(4, len(self.read({"a": [[1], [2], [3], [4]]})["a"]))

    def test_items(self) -> None:
        """A list or an object has at most so many items, and the refusal names it."""
        self.read({"messages": ["1", "2", "3", "4"]})
        error = self.refusal({"model": "m", "messages": ["1", "2", "3", "4", "5"]})
        self.assertEqual("'messages' has 5 items, but max-json-items allows 4.", error.message)
        self.assertEqual("messages", error.param)
        self.assertIn("A part of the request body has 5 items", self.refusal({"a": {"b": [[]] * 5}}).message)
        self.assertIn("has 5 items", self.refusal(dict.fromkeys("abcde", "1")).message)

    def test_numbers(self) -> None:
        """Lists of numbers may be as long as they like: tokens are counted elsewhere."""
        numbers = [1, 2.5, None, 4, 5, 6]
        self.assertEqual(numbers, self.read({"prompt": numbers})["prompt"])
        self.assertIn("'a' has 5 items", self.refusal({"a": dict.fromkeys("abcde", 1)}).message)
        self.assertIn("'prompt' has 7 items", self.refusal({"prompt": [*numbers, "x"]}).message)

    def test_signs_in_texts(self) -> None:
        """Brackets and commas in texts count for nothing."""
        text = "[{" * 100 + "," * 100
        self.assertEqual(text, self.read({"a": text})["a"])

    def test_usual(self) -> None:
        """Without options a body may be what clients mean by one, and no more."""
        head = Head("application/json")
        read_object(b'{"a":' + b"[" * 127 + b"]" * 127 + b"}", head)
        error = self.assertRaises(MalformedRequest, read_object, b'{"a":' + b"[" * 128 + b"]" * 128 + b"}", head)
        self.assertIn("128 levels", error.message)
