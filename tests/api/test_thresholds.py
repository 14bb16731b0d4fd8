"""Requests that want to be refused where too little is cached."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.body import Head
from vllmsim.api.thresholds import NEVER, USUAL, Threshold, threshold_of
from vllmsim.errors import InvalidRequest


class ThresholdTests(SynchronousTestCase):
    """What requests say of it."""

    def test_share(self) -> None:
        """A share of the prompt counts; what is none means as much as nothing."""
        for share in (0.0, 0.5, 1.0):
            self.assertEqual(Threshold(share), threshold_of(Head(), share))
        for none in (-0.1, 1.1, float("nan"), float("inf"), None):
            self.assertEqual(USUAL, threshold_of(Head(), none), none)
        self.assertEqual(NEVER, threshold_of(Head(), 0))

    def test_header(self) -> None:
        """The header is a truth value in any spelling of Go's."""
        for text in ("1", "t", "T", "TRUE", "true", "True"):
            self.assertEqual(Threshold(0.5, refuses=True), threshold_of(Head(cache_threshold=text), 0.5))
        for text in ("", "0", "f", "F", "FALSE", "false", "False"):
            self.assertEqual(USUAL, threshold_of(Head(cache_threshold=text), None))

    def test_wrong_header(self) -> None:
        """Anything else in it is refused, and shown in part if it is long."""
        for text in ("yes", "tRUE", "2", "x" * 5000):
            with self.assertRaises(InvalidRequest) as caught:
                threshold_of(Head(cache_threshold=text), None)
            self.assertLess(len(caught.exception.message), 200)
            self.assertIn(repr(text[:64]), caught.exception.message)
            self.assertEqual("X-Cache-Threshold-Finish-Reason", caught.exception.param)
