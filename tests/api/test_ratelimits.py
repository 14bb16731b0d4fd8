"""How clients are told of rate limits."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.ratelimits import (
    Level,
    anthropic_headers,
    duration,
    estimated_tokens,
    openai_headers,
    refusal,
    retry_headers,
)

LEVEL = Level("requests", 60, 59, 1.0)


class HeaderTests(SynchronousTestCase):
    """What headers say."""

    def test_durations(self) -> None:
        """Times are written as OpenAI writes them, never too short and never as nothing."""
        for seconds, text in (
            (0.0, "0s"), (0.0201, "21ms"), (0.02, "20ms"), (1e-6, "1ms"), (0.9999, "1s"), (1.0, "1s"), (1.5, "1.5s"),
            (59.9999, "1m0s"), (60.0, "1m0s"), (360.0, "6m0s"), (8.64, "8.64s"), (3600.0, "1h0m0s"),
            (3661.25, "1h1m1.25s"),
        ):  # fmt: skip
            self.assertEqual(text, duration(seconds))

    def test_openai(self) -> None:
        """OpenAI's clients are told limit, rest and time."""
        self.assertEqual(
            {
                b"x-ratelimit-limit-requests": b"60",
                b"x-ratelimit-remaining-requests": b"59",
                b"x-ratelimit-reset-requests": b"1s",
            },
            dict(openai_headers(LEVEL)),
        )

    def test_anthropic(self) -> None:
        """Anthropic's are told when, to the second and not too early."""
        self.assertEqual(
            {
                b"anthropic-ratelimit-requests-limit": b"60",
                b"anthropic-ratelimit-requests-remaining": b"59",
                b"anthropic-ratelimit-requests-reset": b"2026-11-22T09:30:35Z",
            },
            dict(anthropic_headers(LEVEL, 1795339833.25)),
        )

    def test_never(self) -> None:
        """A time that will never come is some date."""
        told = dict(anthropic_headers(Level("tokens", 1, 0, 1e15), 1795339833.25))
        self.assertEqual(b"2058-07-31T11:17:14Z", told[b"anthropic-ratelimit-tokens-reset"])

    def test_retry(self) -> None:
        """Seconds are whole, milliseconds exact; what can never be is not to be tried again."""
        self.assertEqual({b"retry-after": b"2", b"retry-after-ms": b"1250"}, dict(retry_headers(1.25)))
        self.assertEqual({b"x-should-retry": b"false"}, dict(retry_headers(None)))

    def test_refusal(self) -> None:
        """A refusal says what is short, and what to do."""
        error = refusal(LEVEL, 1, 1.25)
        self.assertEqual((429, "requests", "rate_limit_exceeded"), (error.status, error.kind, error.code))
        self.assertIn("requests per minute: the limit is 60, 59 are left, 1 are asked for. Please try again in 1.25s.",
                      error.message)  # fmt: skip
        self.assertIn("too large", refusal(LEVEL, 1, None).message)


class EstimateTests(SynchronousTestCase):
    """What a request is likely to cost."""

    def test_length(self) -> None:
        """Four bytes are a token, begun ones too."""
        for body, tokens in ((b"", 0), (b"x", 1), (b"xxxx", 1), (b"xxxxx", 2), (b"[1]", 1), (b'"\xff"', 1)):
            self.assertEqual(tokens, estimated_tokens(body))

    def test_limits(self) -> None:
        """To that comes the most that an answer may have, for each choice."""
        for body, more in (
            (b'{"max_tokens":10}', 10),
            (b'{"max_completion_tokens":10,"max_tokens":5}', 10),
            (b'{"max_output_tokens":10}', 10),
            (b'{"max_tokens":10,"n":3}', 30),
            (b'{"max_tokens":-10,"n":-3}', 0),
            (b'{"max_tokens":"10"}', 0),
            (b'{"max_tokens":true,"n":true}', 0),
            (b'{"max_tokens":1.5}', 0),
        ):
            self.assertEqual(-(-len(body) // 4) + more, estimated_tokens(body), body)

    def test_bounded(self) -> None:
        """Numbers without end are bounded, and long bodies are not read."""
        huge = b'{"max_tokens":18446744073709551615,"n":18446744073709551615}'
        self.assertEqual(1 << 31, estimated_tokens(huge))
        long = b'{"max_tokens":10,"x":"' + b"x" * (1 << 18) + b'"}'
        self.assertEqual(-(-len(long) // 4), estimated_tokens(long))
        self.assertEqual(25000, estimated_tokens(b"[" * 100_000))
