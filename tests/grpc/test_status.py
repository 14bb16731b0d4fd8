"""How statuses are told."""

from urllib.parse import unquote

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.errors import InferenceError, InjectedFailure, InvalidRequest, QueueFull, Unauthorized, Unavailable
from vllmsim.grpc.status import FINE, CallError, Code, Status, escaped, status_of, told_in


class StatusTests(SynchronousTestCase):
    """What an error is to a client of gRPC."""

    def test_codes(self) -> None:
        """An error's code goes with the status that it has over HTTP, and its text is the same."""
        for error, code in (
            (InvalidRequest("No."), 3),
            (Unauthorized("No."), 16),
            (QueueFull("No."), 8),
            (Unavailable("No."), 14),
            (InferenceError("No."), 13),
            (InjectedFailure(504, "x", "No."), 4),
            (InjectedFailure(408, "x", "No."), 4),
            (InjectedFailure(418, "x", "No."), 2),
            (CallError(Code.OUT_OF_RANGE, "No."), 11),
        ):
            self.assertEqual(Status(Code(code), "No."), status_of(error))

    def test_trailers(self) -> None:
        """What went well has no message; any other is written with nothing but printable ASCII."""
        self.assertEqual(((b"grpc-status", b"0"),), FINE.trailers)
        self.assertEqual(
            ((b"grpc-status", b"5"), (b"grpc-message", b"100%25 caf%C3%A9%0A~")),
            Status(Code.NOT_FOUND, "100% café\n~").trailers,
        )

    def test_long(self) -> None:
        """A text that is too long is cut, and never within a character."""
        for text in ("x" * 9999, "é" * 9999, "%" * 9999, "x" + "\U0001f600" * 9999):
            told = escaped(text)
            self.assertTrue(2000 < len(told) <= 2048)
            self.assertTrue(text.startswith(unquote(told.decode(), errors="strict")))

    def test_told_in(self) -> None:
        """What a body of HTTP says is found in its usual forms, and as text."""
        for body, text in (
            (b'{"error": {"message": "No."}}', "No."),
            (b'{"error": "No."}', "No."),
            (b'{"detail": "No."}', "No."),
            (b'{"other": "No."}', ""),
            (b"[1]", ""),
            (b"No.\n", "No."),
            (b"", ""),
            (b"\xff", "\ufffd"),
        ):
            self.assertEqual(text, told_in(body))
