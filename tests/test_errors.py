"""The tree of errors."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim import errors


class ErrorTests(SynchronousTestCase):
    """What clients are told."""

    def test_parameters(self) -> None:
        """An error about a parameter names it, and its value if that helps."""
        error = errors.InvalidParameter("It is wrong.", "n", 0)
        self.assertEqual(("It is wrong. (parameter=n, value=0)", "n"), (error.message, error.param))
        self.assertEqual("It is wrong. (parameter=n)", errors.InvalidParameter("It is wrong.", "n").message)

    def test_halves(self) -> None:
        """A message can be written, whatever was put into it."""
        self.assertEqual(b"half a ? pair", errors.InvalidRequest("half a \ud800 pair").message.encode())

    def test_kinds(self) -> None:
        """Every error has a status of its own kind."""
        kinds = {
            errors.MalformedRequest: (400, "Bad Request"),
            errors.BodyTooLarge: (413, "Request Entity Too Large"),
            errors.InvalidRequest: (400, "BadRequestError"),
            errors.UnknownModel: (404, "NotFoundError"),
            errors.QueueFull: (429, "RateLimitError"),
            errors.Unsupported: (501, "NotImplementedError"),
            errors.Unavailable: (503, "ServiceUnavailableError"),
            errors.InferenceError: (500, "InternalServerError"),
        }
        self.assertEqual(list(kinds.values()), [(kind.status, kind.kind) for kind in kinds])
