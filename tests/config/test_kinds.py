"""Kinds of values."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.kinds import Duration, Flag, Integer, Json, Kind, List, Number, Parsed, Text

GOOD: list[tuple[Kind, object, object]] = [
    (Flag(), "TRUE", True),
    (Flag(), "off", False),
    (Flag(), True, True),
    (Flag(), "0", False),
    (Integer(), "-7", -7),
    (Integer(), "0x10", 16),
    (Integer(), "1_000", 1000),
    (Integer(), 7, 7),
    (Integer(least=1, most=3), "3", 3),
    (Integer(human=True), "4k", 4000),
    (Integer(human=True), "4K", 4096),
    (Integer(human=True), "25.6k", 25600),
    (Integer(human=True), "2M", 2**21),
    (Integer(automatic=("auto", "-1")), "auto", None),
    (Integer(automatic=("auto", "-1")), -1, None),
    (Integer(choices=(8, 16)), 16, 16),
    (Number(), "1.5", 1.5),
    (Number(), 2, 2.0),
    (Number(least=0, most=1), 1, 1.0),
    (Duration(), "100ms", 0.1),
    (Duration(), 100, 0.1),
    (Duration(unit="s"), "30", 30.0),
    (Duration(unit="s"), "30ms", 0.03),
    (Text(), "x", "x"),
    (Text(), 7, "7"),
    (Text(choices=("", "a")), "", ""),
    (List(), "a", ("a",)),
    (List(), '["a", "b"]', ("a", "b")),
    (List(), ["a", "", 7], ("a", "7")),
    (List(), "", ()),
    (List(), "[not json", ("[not json",)),
    (List(item=Integer()), [1, "2"], (1, 2)),
    (List(item=Integer()), 1, (1,)),
    (Json(), '{"a": 1}', {"a": 1}),
    (Json(), {"a": 1}, {"a": 1}),
    (Json(anything=True), "text", "text"),
    (Json(anything=True), "[1]", [1]),
    (Parsed(lambda value: [value], list, "anything"), '{"a": 1}', [{"a": 1}]),
    (Parsed(lambda value: [value], list, "anything"), {"a": 1}, [{"a": 1}]),
    (Parsed(lambda value: [value], list, "anything", plain=True), "a=b", ["a=b"]),
]

BAD: list[tuple[Kind, object]] = [
    (Flag(), "maybe"),
    (Flag(), 1),
    (Integer(), "x"),
    (Integer(), "1.5"),
    (Integer(), 1.5),
    (Integer(), True),
    (Integer(), None),
    (Integer(least=1), 0),
    (Integer(most=1), "2"),
    (Integer(choices=(8, 16)), 9),
    (Integer(human=True), "0.0001k"),
    (Number(), "x"),
    (Number(), "nan"),
    (Number(), True),
    (Number(), []),
    (Number(least=0), -1),
    (Number(most=1), 2),
    (Duration(), -1),
    (Duration(), "1 day"),
    (Duration(positive=True), 0),
    (Text(choices=("a",)), "b"),
    (Text(required=True), " "),
    (Text(), []),
    (Text(), True),
    (List(item=Integer()), ["x"]),
    (Json(), "[1]"),
    (Json(), "{"),
    (Json(), 7),
    (Parsed(lambda value: value, list, "anything"), "{"),
]


class KindTests(SynchronousTestCase):
    """How values are read and written."""

    def test_good(self) -> None:
        """Values are read from text and from YAML."""
        for kind, given, expected in GOOD:
            value: Any = kind.from_value(given)
            self.assertEqual((expected, type(expected)), (value, type(value)), (kind, given))

    def test_bad(self) -> None:
        """What is not allowed is a ValueError, and the kind says what is allowed."""
        for kind, given in BAD:
            with self.assertRaises(ValueError, msg=f"{kind} {given!r}"):
                kind.from_value(given)
            self.assertTrue(kind.allowed)
            self.assertTrue(kind.placeholder)

    def test_written_and_read_back(self) -> None:
        """What a kind writes it reads back."""
        for kind, given, _ in GOOD:
            value = kind.from_value(given)
            if value is not None and not isinstance(kind, Parsed):
                self.assertEqual(value, kind.from_value(kind.to_value(value)))

    def test_allowed(self) -> None:
        """What is allowed is said in words."""
        self.assertEqual("an integer from 1 to 8", Integer(least=1, most=8).allowed)
        self.assertEqual("an integer of at least 1 (4k is 4000, 4K is 4096), or auto",
                         Integer(least=1, human=True, automatic=("auto",)).allowed)  # fmt: skip
        self.assertEqual("a number of at most 1", Number(most=1).allowed)
        self.assertEqual('one of "", constant', Text(choices=("", "constant")).allowed)
        self.assertRaises(NotImplementedError, getattr, Kind(), "allowed")
        self.assertRaises(NotImplementedError, Kind().from_text, "x")
        self.assertRaises(ValueError, Kind().from_value, 7)
        self.assertEqual(7, Kind().to_value(7))
