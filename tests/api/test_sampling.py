"""The fields that generating requests share."""

from typing import Any

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.sampling import SamplingBody, check_options
from vllmsim.errors import InvalidParameter


class CheckTests(SynchronousTestCase):
    """Checks before types."""

    def test_fine(self) -> None:
        """Fields that fit together, and fields of a wrong type, pass on to the next check."""
        for data in (
            {"stream": True, "stream_options": {}},
            {"prompt_logprobs": 0, "stream": True},
            {"prompt_logprobs": "x"},
            {"cache_salt": "x" * 128},
            {"response_format": {"type": "text"}},
            {"response_format": "x"},
            {"structured_outputs": None},
        ):
            check_options(data)

    def test_salt(self) -> None:
        """A salt is a text of 1 to 128 characters without separators."""
        for salt in ("", "x" * 129, "a/b", "a\\b", "a\0b", 7):
            error = self.assertRaises(InvalidParameter, check_options, {"cache_salt": salt})
            self.assertEqual("cache_salt", error.param)

    def test_bias(self) -> None:
        """Of wrong numbers the first is reported, and text that is a number is one."""
        body = SamplingBody.model_validate({"logit_bias": {"1": "2.5", "3": 4}})
        self.assertEqual({"1": 2.5, "3": 4.0}, body.logit_bias)
        wrongs: list[Any] = ["x", None, [], {}]
        for wrong in wrongs:
            bias = {"1": 2} | {str(token): wrong for token in range(5, 1000)}
            error = self.assertRaises(ValidationError, SamplingBody.model_validate, {"logit_bias": bias})
            self.assertEqual([("logit_bias", "5")], [each["loc"] for each in error.errors()])
        self.assertRaises(ValidationError, SamplingBody.model_validate, {"logit_bias": 1})

    def test_logprobs(self) -> None:
        """A negative number of alternatives is refused, but for -1."""
        self.assertRaises(InvalidParameter, check_options, {"prompt_logprobs": -2})
        check_options({"prompt_logprobs": -1})
