"""What administrators send."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.administration import MOST_BYTES, read_change
from vllmsim.api.body import Head
from vllmsim.errors import BodyTooLarge, InvalidRequest


class ChangeTests(SynchronousTestCase):
    """Bodies of ``/admin/config``."""

    def test_object(self) -> None:
        """It is a JSON object, whose type may be said or not."""
        for kind in (None, "", "application/json", "application/json; charset=utf-8", "application/merge-patch+json"):
            self.assertEqual({"a": [1, None]}, read_change(b'{"a": [1, null]}', Head(kind)))

    def test_refused(self) -> None:
        """Anything else is refused in llm-d-inference-sim's words."""
        for body, kind in ((b"", None), (b"[]", None), (b"{", None), (b"{}", "text/plain")):
            error = self.assertRaises(InvalidRequest, read_change, body, Head(kind))
            self.assertTrue(error.message.startswith("failed to unmarshal payload: "))

    def test_size(self) -> None:
        """It may have a certain size."""
        self.assertEqual({}, read_change(b"{}".ljust(MOST_BYTES), Head()))
        self.assertRaises(BodyTooLarge, read_change, b"{}".ljust(MOST_BYTES + 1), Head())
