"""Tests for :mod:`vllmsim.structured.door`."""

import random
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.errors import InvalidRequest
from vllmsim.structured import documents, door, patterns
from vllmsim.structured.values import Ranges

_LATE = """
import sys
from vllmsim.structured import door
before = "vllmsim.structured.schemas" in sys.modules
door.prepare()
print(before, "vllmsim.structured.schemas" in sys.modules, "jsonschema_rs" in sys.modules)
"""


class DoorTests(SynchronousTestCase):
    """It does what is asked as those do who do it."""

    def test_schema(self) -> None:
        """Schemas are checked, and values of theirs are drawn."""
        schema = {"type": "integer", "minimum": 3, "maximum": 3}
        self.assertEqual(documents.check_schema(schema), door.check_schema(schema))
        self.assertRaises(InvalidRequest, door.check_schema, {"type": "no"})
        self.assertEqual(3, door.schema_sampler(schema, Ranges()).sample(random.Random(1)))

    def test_pattern(self) -> None:
        """Texts of patterns are drawn."""
        expected = patterns.sample_pattern("[a-z]{9}", random.Random(1))
        self.assertEqual(expected, door.sample_pattern("[a-z]{9}", random.Random(1)))

    def test_late(self) -> None:
        """What does it is imported when it is prepared, and not before."""
        done = subprocess.run([sys.executable, "-c", _LATE], check=True, capture_output=True, text=True)
        self.assertEqual("False True True\n", done.stdout)
