"""Members of structured options."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config import members
from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.members import Members, read_members


class MembersTests(SynchronousTestCase):
    """Maps that are read member by member."""

    def test_reading(self) -> None:
        """What is there is read, what is empty is not there, and what is not there is as usual."""
        read = Members({"a": 3, "b": None, 7: "seven"})
        self.assertEqual(frozenset({"a", "7"}), read.given)
        self.assertEqual((3, 5, "seven"), (read.take("a", members.count), read.take("b", members.count, 5),
                                           read.take("7", members.text)))  # fmt: skip
        read.finish("is too much")
        self.assertEqual([], read.faults)

    def test_faults(self) -> None:
        """Everything that is wrong is told, each with its path."""

        def deep(_: object) -> None:
            raise InvalidMembers([("x", "is wrong")])

        def huge(_: object) -> None:
            raise OverflowError("too large")

        read = Members({"a": -1, "b": {}, "c": 1, "d": 2})
        self.assertEqual(
            (9, None, None), (read.take("a", members.count, 9), read.take("b", deep), read.take("c", huge))
        )
        read.finish("is too much")
        self.assertEqual(
            [
                ("a", "must be an integer from 0 to 2147483648"),
                ("b.x", "is wrong"),
                ("c", "too large"),
                ("d", "is too much"),
            ],
            read.faults,
        )

    def test_shorthand(self) -> None:
        """One member may stand for a map that has nothing else."""
        readers: dict[str, Any] = {"tokens": members.count, "for": members.duration}
        self.assertEqual({"tokens": 3}, read_members(3, "tokens", **readers))
        self.assertEqual({"for": 2.0}, read_members({"for": "2s"}, "tokens", **readers))
        error = self.assertRaises(InvalidMembers, read_members, {"tokens": "x", "z": 1}, "tokens", **readers)
        self.assertEqual(["tokens", "z"], [name for name, _ in error.faults])
        told = self.assertRaises(ValueError, read_members, "x", "tokens", **readers)
        self.assertEqual("must be an integer from 0 to 2147483648, or a map of tokens, for", str(told))

    def test_values(self) -> None:
        """Each kind of value is read, and what is none says what is wanted."""
        good: list[tuple[Any, object, object]] = [
            (members.text, "x", "x"), (members.text, 7, "7"), (members.flag, True, True),
            (members.positive, 1, 1), (members.percent, 12.5, 12.5), (members.percent, 100, 100.0),
            (members.duration, 1500, 1.5), (members.duration, "2m", 120.0), (members.seconds, 1.5, 1.5),
            (members.lasting, "1ms", 0.001),
        ]  # fmt: skip
        for read, value, expected in good:
            self.assertEqual(expected, read(value))
        bad: list[tuple[Any, object, str]] = [
            (members.text, True, "must be text"), (members.text, [], "must be text"),
            (members.text, "x" * 5000, "at most 4096 characters"), (members.flag, 1, "true or false"),
            (members.positive, 0, "from 1"), (members.positive, True, "from 1"), (members.count, 1 << 40, "from 0"),
            (members.percent, 101, "from 0 to 100"), (members.percent, "3", "from 0 to 100"),
            (members.percent, float("nan"), "from 0 to 100"), (members.duration, -1, "of at most a day"),
            (members.duration, "25h", "of at most a day"), (members.duration, [], "of milliseconds"),
            (members.seconds, "x", "of seconds"), (members.lasting, 0, "above 0"),
        ]  # fmt: skip
        for read, value, told in bad:
            self.assertIn(told, str(self.assertRaises(ValueError, read, value)))
