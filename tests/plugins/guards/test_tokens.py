"""Tokens of which nothing is certain."""

from itertools import count, repeat
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Tokens
from vllmsim.plugins.guards.blame import Nonsense
from vllmsim.plugins.guards.tokens import checked


class TokensTests(SynchronousTestCase):
    """What is given."""

    def test_good(self) -> None:
        """Tokens stay as they are, but for what is too many."""
        self.assertEqual(Tokens((1, 2), ("a", "b")), checked(Tokens([1, 2], ["a", "b"]), 3, 2))
        self.assertEqual(Tokens((1,), ("a",)), checked(Tokens([1, 9], ["a", 7]), 3, 1))  # type: ignore[list-item]
        self.assertEqual(Tokens((), ()), checked(Tokens([], []), 3, 1))

    def test_endless(self) -> None:
        """What has no end is cut like what is too long."""
        endless: Any = Tokens(count(), repeat("x"))  # type: ignore[arg-type]
        self.assertEqual(Tokens((0, 1, 2), ("x",) * 3), checked(endless, 10, 3))

    def test_nonsense(self) -> None:
        """Whatever else is given is told."""
        cases: list[tuple[Any, str]] = [
            (None, "no Tokens, but a NoneType"),
            ("text", "no Tokens, but a str"),
            (Tokens([3], ["x"]), "the token 3, which is not in the vocabulary"),
            (Tokens([-1], ["x"]), "the token -1"),
            (Tokens([1.5], ["x"]), "the token 1.5"),  # type: ignore[list-item]
            (Tokens(["one"], ["x"]), "the token 'one'"),  # type: ignore[list-item]
            (Tokens([1, 2], ["x"]), "2 ids and 1 texts"),
            (Tokens([1, 2], "xy"), "one text, and not one for each"),
            (Tokens([1], [b"x"]), "a bytes for a text"),  # type: ignore[list-item]
            (Tokens([1], ["\ud800"]), "half of a character"),
        ]
        for said, fault in cases:
            with self.assertRaisesRegex(Nonsense, fault):
                checked(said, 3, 5)
        for broken in (Tokens(None, []), Tokens([], 7)):  # type: ignore[arg-type]
            self.assertRaises(TypeError, checked, broken, 3, 5)
