"""What administrators send."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.administration import MOST_BYTES, read_change
from vllmsim.api.body import Head
from vllmsim.errors import BodyTooLarge, InvalidRequest

ANY = Head("text/plain")


class ChangeTests(SynchronousTestCase):
    """Bodies of ``/admin/config``."""

    def test_object(self) -> None:
        """It is a JSON object."""
        self.assertEqual({"a": [1, None]}, read_change(b'{"a": [1, null]}', ANY))

    def test_refused(self) -> None:
        """Anything else is refused in llm-d-inference-sim's words."""
        for body in (b"", b"[]", b"{", b"a=1"):
            error = self.assertRaises(InvalidRequest, read_change, body, ANY)
            self.assertTrue(error.message.startswith("failed to unmarshal payload: "))

    def test_size(self) -> None:
        """It may have a certain size."""
        self.assertEqual({}, read_change(b"{}".ljust(MOST_BYTES), ANY))
        self.assertRaises(BodyTooLarge, read_change, b"{}".ljust(MOST_BYTES + 1), ANY)
