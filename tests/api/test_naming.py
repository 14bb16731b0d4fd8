# -*- test-case-name: tests.api.test_naming -*-
"""Tests for :mod:`vllmsim.api.naming`."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.body import Head
from vllmsim.api.naming import Named, named_in_json
from vllmsim.errors import MalformedRequest

HEAD = Head("application/json")


class JsonTests(SynchronousTestCase):
    """What JSON says of itself."""

    def named(self, **members: Any) -> Named:
        """Read an object."""
        return named_in_json(json.dumps(members).encode(), HEAD)

    def test_model(self) -> None:
        """A model is named by a text that is not empty."""
        self.assertEqual(Named("m", streamed=False), self.named(model="m"))
        for nothing in ({}, {"model": ""}, {"model": None}, {"model": 7}):
            self.assertIsNone(self.named(**nothing).model)

    def test_stream(self) -> None:
        """A stream is asked for by all that vLLM takes for true."""
        for yes in (True, "true", 1, "Yes"):
            self.assertTrue(self.named(stream=yes).streamed)
        for no in (False, None, 0, "no", [1]):
            self.assertFalse(self.named(stream=no).streamed)

    def test_malformed(self) -> None:
        """What is no object says nothing."""
        self.assertRaises(MalformedRequest, named_in_json, b"[", HEAD)
