"""What is not to be in a log."""

import json

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.secrecy import MASK
from vllmsim.web.middleware.masking import Masking, as_text, headers_shown, on_one_line

NAMES = frozenset({"api-key", "hf-token", "tenants"})


class MaskingTests(SynchronousTestCase):
    """Secrets, and what is none."""

    def setUp(self) -> None:
        """Have some secrets."""
        self.masking = Masking(["s3cret", "s3cret-longer", "abc", "with space", "k.+y"], NAMES)

    def test_values(self) -> None:
        """Known secrets are masked wherever they are, whole; those of three letters are not, as they are everywhere."""
        told = "a s3cret-longer, xs3cretx, with space, k.+y, kkkky and abc"
        self.assertEqual("a ***, x***x, ***, ***, kkkky and abc", self.masking.text(told))

    def test_many(self) -> None:
        """Of many, each is masked where it is a word of its own, and those that are no words everywhere."""
        masking = Masking([*(f"key-number-{number:04}" for number in range(1000)), "odd one"], NAMES)
        told = "Bearer key-number-0007, 'key-number-0999' key-number-1000 odd ones"
        self.assertEqual("Bearer ***, '***' key-number-1000 ***s", masking.text(told))

    def test_headers(self) -> None:
        """Headers that are called like secrets are masked, but for the scheme; others are not."""
        for name in (
            "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "api-key", "X-Auth-Token",
            "Ocp-Apim-Subscription-Key", "X-Amz-Signature", "Key",
        ):  # fmt: skip
            self.assertEqual(MASK, self.masking.header(name, "anything"), name)
        self.assertEqual("Bearer ***", self.masking.header("Authorization", "Bearer x y"))
        self.assertEqual("5 ***", self.masking.header("X-RateLimit-Limit-Tokens", "5 s3cret"))
        self.assertEqual("text/html", self.masking.header("Accept", "text/html"))

    def test_target(self) -> None:
        """Arguments of a query that are called like secrets are masked, however they are written."""
        told = "/v1/x?api_key=a&max_tokens=5&API%5FKEY=b&token=&access_token=c=d&flag&key=e"
        shown = "/v1/x?api_key=***&max_tokens=5&API%5FKEY=***&token=&access_token=***&flag&key=***"
        self.assertEqual(shown, self.masking.target(told))
        self.assertEqual("/v1/***", self.masking.target("/v1/s3cret"))

    def test_options(self) -> None:
        """Secret options are masked in JSON at any depth, in each spelling; text that names one is not shown."""
        value = {
            "hf_token": "x",
            "port": 1,
            "steps": [{"set": {"API-Key": ["y"], "tenants": {"a": {}}}}],
            "a": "s3cret",
        }
        shown = {"hf_token": MASK, "port": 1, "steps": [{"set": {"API-Key": MASK, "tenants": MASK}}], "a": MASK}
        self.assertEqual(shown, json.loads(self.masking.options(json.dumps(value))))
        self.assertIn("not shown", self.masking.options("steps:\n- set:\n    hf_token:\n      x"))
        self.assertEqual("steps: ***", self.masking.options("steps: s3cret"))
        self.assertEqual("3", self.masking.options("3"))
        deep = '{"a":' * 100 + '{"hf-token": "x"}' + "}" * 100
        self.assertNotIn('"x"', self.masking.options(deep))
        self.assertIn("not shown", self.masking.options('{"hf-token": ' + "[" * 100_000))


class ShowingTests(SynchronousTestCase):
    """What clients have sent, as a log shows it."""

    def test_one_line(self) -> None:
        """A text that is shown on one line is itself, or quoted where that would not do."""
        self.assertEqual('{"a": "\u00e4"}', on_one_line('{"a": "\u00e4"}'))
        self.assertEqual('"a\\nb\\u001b\\u2028"', on_one_line("a\nb\x1b\u2028"))

    def test_text(self) -> None:
        """Long bodies are cut, also within a character, and say how long they are; what is no text says only that."""
        self.assertEqual("\u00e4b", as_text("\u00e4b".encode(), 3))
        self.assertEqual("\u00e4 ... [truncated, total 6 bytes]", as_text("\u00e4\u00e4\u00e4".encode(), 3))
        self.assertEqual("<4 bytes that are no text>", as_text(b"ab\xffc", 100))
        self.assertEqual("<3 bytes that are no text>", as_text(b"ab\xc3", 100))
        self.assertEqual("", as_text(b"", 100))

    def test_headers(self) -> None:
        """Headers are shown in their order, names in lower case; long ones are cut, and so are many."""
        masking = Masking([], NAMES)
        headers = [(b"A", b"1"), (b"Cookie", b"x" * 20), (b"b", b"y" * 20), (b"c", b"2")]
        cut = "yyyyyyyyyy ... [truncated, total 20 bytes]"
        expected = [("a", "1"), ("cookie", "*** ... [truncated, total 20 bytes]"), ("b", cut), ("...", "and more")]
        self.assertEqual(expected, headers_shown(headers, masking, 3, 10))
        self.assertEqual(4, len(headers_shown(headers, masking, 4, 10)))
