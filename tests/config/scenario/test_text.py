"""The texts of scenarios."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.scenario.text import MOST_BYTES, read_text


class TextTests(SynchronousTestCase):
    """YAML and JSON."""

    def refused(self, text: bytes, *, json: bool = False) -> str:
        """Read a text that will not do; tell why."""
        return str(self.assertRaises(ValueError, read_text, text, json=json))

    def test_same(self) -> None:
        """Both say the same."""
        expected = {"a": [1, 2.5, True, None, "x"], "7": {"b": "ü"}}
        self.assertEqual(expected, read_text("a: [1, 2.5, yes, ~, x]\n7: {b: ü}".encode(), json=False))
        self.assertEqual(expected, read_text(b'{"a": [1, 2.5, true, null, "x"], "7": {"b": "\\u00fc"}}', json=True))

    def test_anchors(self) -> None:
        """What YAML says once may be there several times."""
        text = b"a: &slow {x: 1}\nb: *slow\nc: {<<: *slow, y: 2}"
        self.assertEqual({"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}, read_text(text, json=False))

    def test_neither(self) -> None:
        """What is neither is refused, and the line is named."""
        for text, json, words in (
            (b"a: [1", False, "it is not YAML: expected ',' or ']', but got '<stream end>' (line 1)"),
            (b"a: 1\na: 2", False, "'a' is there twice, again in line 2"),
            (b"[1] : {x: 1}\n? [1]\n: 2", False, "it is not YAML: found unhashable key (line 1)"),
            (b"!!python/object:os.system {}", False, "it is not YAML: could not determine a constructor"),
            (b"\xff", False, "it is not UTF-8 text"),
            (b"\xff", True, "it is not UTF-8 text"),
            (b"{", True, "it is not JSON: Expecting property name"),
            (b"", True, "it is not JSON: Expecting value"),
            (b'{"a": 1, "a": 2}', True, "'a' is there twice"),
            (b"a: 2026-11-23", False, "2026-11-23 is a date, which JSON has not; put it in quotes"),
            (b"!!map [a, b]", False, "it is not YAML: expected a mapping node"),
            (b"a: !!timestamp b", False, "it is not YAML: a value is not what its tag says"),
            (b"a: !!bool b", False, "it is not YAML: a value is not what its tag says"),
            (b"!!omap [a: 1]", False, "it has a tuple, which JSON has not"),
            (b"a: .nan", False, "nan is a float, which JSON has not"),
            (b'{"a": 1e999}', True, "inf is a float, which JSON has not"),
            (b"a: !!binary YQ==", False, "b'a' is a bytes, which JSON has not"),
            (b"[" * 2000, False, "it is nested too deeply"),
            (b"[" * 5000, True, "it is nested too deeply"),
            (b"1" * 5000, False, "Exceeds the limit"),
        ):
            self.assertIn(words, self.refused(text, json=json), text[:20])

    def test_too_much(self) -> None:
        """A text that is too long is not looked at, nor all of one that says much more than it has characters."""
        self.assertIn("has 131073 bytes", self.refused(b" " * (MOST_BYTES + 1)))
        layers = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        layers += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9)]
        self.assertEqual("it has more than 20000 values", self.refused(b"\n".join(layers)))
        self.assertEqual("it is nested too deeply", self.refused(b"a: &a [*a]"))

    def test_merged_too_much(self) -> None:
        """Nor is all made of one whose merge keys, or pairs, say much more than it has characters."""
        layers = [b"a0: &a0 {x: 1, y: 2}"]
        layers += [b"a%d: &a%d {<<: [%s]}" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 100)) for n in range(1, 9)]
        self.assertEqual("its merge keys bring in more than 20000 members", self.refused(b"\n".join(layers)))
        self.assertEqual("it is nested too deeply", self.refused(b"a: &a {<<: *a}"))
        doubled = b", ".join([b"&a0 [x]", *(b"&a%d [*a%d, *a%d]" % (n, n - 1, n - 1) for n in range(1, 99))])
        self.assertEqual("it has a tuple, which JSON has not", self.refused(b"!!pairs [a: [%s]]" % doubled))

    def test_surrogates(self) -> None:
        """Halves of surrogate pairs become question marks."""
        self.assertEqual({"?": ["?"]}, read_text(b'{"\\ud800": ["\\udfff"]}', json=True))

    def test_plain(self) -> None:
        """No text at all says nothing."""
        nothing: Any = read_text(b"", json=False)
        self.assertEqual(None, nothing)
