# -*- test-case-name: tests.api.test_frames -*-
"""Tests for :mod:`vllmsim.api.frames`."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.frames import PREFIX, frame


class FrameTests(SynchronousTestCase):
    """A message goes out behind five bytes that say how long it is."""

    def test_length(self) -> None:
        """Before a message come a zero, as it is not compressed, and its length in four bytes."""
        self.assertEqual(b"\x00\x00\x00\x00\x05hello", frame(b"hello"))

    def test_order(self) -> None:
        """The most significant byte of a length comes first."""
        self.assertEqual(b"\x00\x00\x01\x00\x02", frame(b"x" * 65538)[:5])

    def test_empty(self) -> None:
        """A message without fields has no bytes, and a frame all the same."""
        self.assertEqual(b"\x00\x00\x00\x00\x00", frame(b""))

    def test_prefix(self) -> None:
        """What reads frames finds there what was written."""
        self.assertEqual((0, 300), PREFIX.unpack_from(frame(b"y" * 300)))
