"""Hashes on the wire."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.hashing import fnv1a_32


class HashTests(SynchronousTestCase):
    """Known values."""

    def test_fnv1a(self) -> None:
        """The 32-bit FNV-1a hash has its published values."""
        self.assertEqual([0x811C9DC5, 0xE40C292C, 0xBF9CF968], [fnv1a_32(text) for text in ("", "a", "foobar")])
