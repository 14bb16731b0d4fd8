"""Errors that clients are told of on purpose."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.failurerule import FAILURE_TYPES
from vllmsim.errors import InvalidRequest
from vllmsim.failures.errors import TYPES, asked_for, kind_of


class TypeTests(SynchronousTestCase):
    """The six types of failures."""

    def test_types(self) -> None:
        """Each type has the status, the type, the parameter and the words of llm-d-inference-sim."""
        told = [
            (error.status, error.kind, error.param, error.message) for error in (TYPES[t]("m") for t in FAILURE_TYPES)
        ]
        self.assertEqual(
            [
                (429, "RateLimitError", None, ("Rate limit reached for m in organization org-xxx on requests per min "
                 "(RPM): Limit 3, Used 3, Requested 1.")),
                (401, "AuthenticationError", None, "Incorrect API key provided."),
                (400, "BadRequestError", "messages", ("This model's maximum context length is 4096 tokens. However, "
                 "your messages resulted in 4500 tokens.")),
                (503, "InternalServerError", None, "The server is overloaded or not ready yet."),
                (400, "BadRequestError", "model", "Invalid request: missing required parameter 'model'."),
                (404, "NotFoundError", "model", "The model 'm-nonexistent' does not exist"),
            ],
            told,
        )  # fmt: skip
        self.assertEqual(set(FAILURE_TYPES), set(TYPES))

    def test_kinds(self) -> None:
        """Each status has its type of error."""
        kinds = {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError",
                 404: "NotFoundError", 422: "UnprocessableEntityError", 429: "RateLimitError",
                 500: "InternalServerError", 599: "InternalServerError", 200: "APIConnectionError",
                 418: "APIConnectionError", 451: "APIConnectionError"}  # fmt: skip
        self.assertEqual(kinds, {status: kind_of(status) for status in kinds})


class HeaderTests(SynchronousTestCase):
    """Errors that requests ask for themselves."""

    def test_status(self) -> None:
        """A status is answered with itself."""
        for value, status in (("422", 422), ("+503", 503), (" 200 ", 200), ("599", 599)):
            error = asked_for(value)
            self.assertEqual(
                (status, kind_of(status), f"Simulated error triggered by X-Return-Error header (code {status})"),
                (error.status, error.kind, error.message),
            )

    def test_wrong(self) -> None:
        """What is no integer is refused, and so is what no response can have."""
        for value, told in (
            ("abc", 'value "abc": must be an integer'), ("4.5", "integer"), ("٤٠٤", "integer"), ("4_0_4", "integer"),
            ("99", 'value "99": must be a status that a response can have, from 200 to 599'), ("600", "from 200"),
            ("-404", "from 200"), ("100", "from 200"), ("9" * 5000, "9" * 100 + '"'),
        ):  # fmt: skip
            error = self.assertRaises(InvalidRequest, asked_for, value)
            self.assertIn(f"Invalid X-Return-Error header {told}" if "value" in told else told, error.message)
            self.assertEqual(400, error.status)
            self.assertLess(len(error.message), 250)
