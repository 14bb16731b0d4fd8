"""Texts that regular expressions match."""

import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import RegexOptions, validator_for
from twisted.trial.unittest import SynchronousTestCase

from tests.structured.work import MOST_CALLS, counted
from vllmsim.errors import InvalidRequest
from vllmsim.structured.patterns import PatternSampler, sample_pattern

BOTH = [
    "",
    "^$",
    "abc",
    "^[A-Z]{2}\\d+$",
    "^(foo|bar)*baz$",
    "^\\w+@\\w+\\.(com|org)$",
    "^.*$",
    ".+?",
    '[^"\\s]{3,}',
    "[^\\x00-\\x7f]+",
    "\\u0041\\x42\\/\\-",
    "(?:a|b){2,4}c?",
    "((a*)*)*b",
    "\\bfoo\\b \\bbar\\b",
    "o\\Bo",
    "^\\D\\S\\W$",
    "[[&&||~~]",
    "[a-z&&[b]]",
    "(?P<year>\\d{4})",
    "^[+-]?(0|[1-9]\\d*)(\\.\\d+)?([eE][+-]?\\d+)?$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "^[\\t\\n]$",
    "名前|größe",
    "}|]",
    "[]a]{3}",
    "[^]a]{3}",
]
"""What ECMA-262 and Python agree on."""

ECMA = [
    "^\\p{L}+\\s\\p{Lu}$",
    "\\P{Letter}\\pN",
    "[\\p{L}\\s]{5}",
    "^[^\\p{L}]{3}$",
    "[\\p{Script=Greek}]{3}",
    "\\p{Script=Han}",
    "\\p{ASCII}\\p{Any}\\P{ASCII}",
    "\\p{gc=Sc}",
    "\\u{61}\\u{1F600}",
    "\\cA\\z",
    "(?<year>\\d{4})-\\d\\d",
]
"""What Python's own syntax does not know."""

PYTHON = ["(\\w)\\1", "(?P<q>['\"])x*(?P=q)", "(?i)[^a-y]{3}", "(?i:ab)(?-i:C)[XY]", "a{,3}", "(?i)é[^é]", "[a-z]\\Z"]
"""What JSON Schema does not know, and structured outputs may use."""

REFUSED = {
    "(": "cannot be read",
    "a**": "cannot be read",
    "[z-a]": "cannot be read",
    "\\": "cannot be read",
    "a{99999999999999999999}": "cannot be read",
    "(?=a)a": "lookaround",
    "(?<!a)b": "lookaround",
    "(a)?(?(1)b|c)": "conditional",
    "(?>a)": "atomic",
    "a++": "possessive",
    "\\p{Nonsense}": "not known: Nonsense",
    "x" * 9000: "8192 characters",
    "(" * 100 + ")" * 100: "40 deep",
    "\\pL" * 2100: "properties",
    "\\p{L}" * 1600 * 2: "8192 characters",
    "^a^b": "begins in the middle",
    "a$b": "after the end",
    "a\\bb": "no word begins or ends",
    "\\B": "no word begins or ends",
    "é\\b": "no word begins or ends",
    "[^\\s\\S]": "no characters",
    "[]": "cannot be read",
    "(\\2)(a)": "cannot be read",
    "(?:(a)|b){0}\\1": "no text",
    "\U0010f000": "private plane",
    "\\ud83d": "no characters",
    "a{1000000}": "length",
    "(){1000000}": "too many steps",
    "((a{0}){1000}){1000}": "too many steps",
    "(" * 30 + "a" + "{9}" + "){9}" * 30: "length",
    "[\\p{Script=Klingon}]": "no characters",
}


def accepts(pattern: str, text: str) -> bool:
    """Ask the validator of JSON Schemas, for the whole text."""
    options = RegexOptions()
    return validator_for({"pattern": f"^(?:{pattern})$"}, pattern_options=options, offline=True).is_valid(text)


class PatternTests(SynchronousTestCase):
    """What a text for a pattern looks like."""

    def texts(self, pattern: str, count: int = 20) -> list[str]:
        """Draw some."""
        return [sample_pattern(pattern, random.Random(seed)) for seed in range(count)]

    def test_both_dialects(self) -> None:
        """A text matches the whole pattern, for Python and for validators of JSON Schemas."""
        for pattern in BOTH:
            # Python warns of what other dialects might mean by such classes.
            compiled = re.compile(pattern.replace("[[&&||~~]", "[\\[&|~]").replace("[a-z&&[b]]", "[a-z&\\[b]\\]"))
            for text in self.texts(pattern):
                self.assertTrue(compiled.fullmatch(text), (pattern, text))
                self.assertTrue(accepts(pattern, text), (pattern, text))

    def test_ecma(self) -> None:
        """Patterns may use what only JavaScript knows, properties of Unicode among it."""
        for pattern in ECMA:
            for text in self.texts(pattern):
                self.assertTrue(accepts(pattern, text), (pattern, text))

    def test_python(self) -> None:
        """Patterns may use what only Python knows, and refer to what a group matched."""
        for pattern in PYTHON:
            for text in self.texts(pattern):
                self.assertTrue(re.fullmatch(pattern, text), (pattern, text))

    def test_other_spellings(self) -> None:
        """Names of groups, surrogate pairs and brackets in classes are read as JavaScript reads them."""
        for text in self.texts("(?<y>\\d{2})-\\k<y>"):
            self.assertTrue(re.fullmatch("(\\d{2})-\\1", text), text)
        self.assertEqual("😀", sample_pattern("\\ud83d\\ude00", random.Random(1)))
        self.assertEqual("(?<name>x", sample_pattern("[(][?]<name>x", random.Random(1)))
        self.assertIn(sample_pattern("[(?<n>]", random.Random(1)), "(?<n>")
        self.assertIn(sample_pattern("[[^][]a]", random.Random(1)), ["[]", "[a", "^]", "^a"])

    def test_looks_written(self) -> None:
        """Where nearly everything is allowed, a text is of letters."""
        for pattern in (".{5}", "[^,]{5}", "[\\s\\S]{5}", "\\S{5}"):
            for text in self.texts(pattern):
                self.assertTrue(re.fullmatch("[a-z]{5}", text), (pattern, text))

    def test_lengths(self) -> None:
        """A text is as long as is asked for, wherever the pattern can give way."""
        for pattern, least, most in (
            ("[a-z]+", 10, 10),
            ("(abc)*", 6, 8),
            ("(abc|de)+", 5, 5),
            ("^[a-z]*[0-9]*$", 30, 40),
            ("^[a-z]+-[a-z]+$", 3, 4),
            ("^(a|bcd|efghij){2,3}$", 12, 30),
            ("(x[yz]{1,3}){2,}", 40, 41),
            (".{500,}", 500, 510),
            ("(ab?)+", 0, 1),
        ):
            for seed in range(20):
                text = sample_pattern(pattern, random.Random(seed), least, most)
                self.assertTrue(least <= len(text) <= most, (pattern, text))
                self.assertTrue(re.fullmatch(pattern, text), (pattern, text))
        for pattern, least, most in (("(abc)*", 4, 5), ("a{3}", 4, 9), ("a{3}", 0, 2), ("a|bbb", 2, 2)):
            self.assertRaises(InvalidRequest, sample_pattern, pattern, random.Random(1), least, most)

    def test_refused(self) -> None:
        """What cannot be read, is not supported or matches nothing is refused after little work, and says why."""
        for pattern, reason in REFUSED.items():
            with counted() as work:
                error = self.assertRaises(InvalidRequest, sample_pattern, pattern, random.Random(1))
            self.assertLess(work.calls, MOST_CALLS, pattern[:80])
            self.assertIn(reason, error.message)
            self.assertTrue(error.message.startswith("No text could be made for the regular expression: "))

    def test_exponential(self) -> None:
        """Repetitions of repetitions do not multiply."""
        with counted() as work:
            text = sample_pattern("(" * 35 + "a" + "*)" * 35, random.Random(5))
            self.assertLess(len(text), 5000)
        self.assertLess(work.calls, MOST_CALLS)

    def test_deterministic(self) -> None:
        """Equal generators write equal texts, and others others."""
        self.assertEqual(self.texts("\\w{8}"), self.texts("\\w{8}"))
        self.assertEqual(20, len(set(self.texts("\\w{8}"))))

    def test_every_branch(self) -> None:
        """Every branch and every count comes up."""
        self.assertEqual({"a", "bb", "ccc"}, set(self.texts("a|bb|ccc", 60)))
        self.assertEqual({1, 2, 3}, set(map(len, self.texts("x{1,3}", 60))))

    def test_weight(self) -> None:
        """What takes a validator long to compile weighs more."""
        weights = [PatternSampler(pattern).weight for pattern in ("abc", "\\w{20}", "[^a]{100}", "\\p{L}{20}")]
        self.assertEqual(sorted(weights), weights)
        self.assertGreater(weights[3], 2000)


ATOMS = st.sampled_from(
    [
        "a",
        "\\d",
        "\\w",
        "[a-f]",
        "[^x]",
        ".",
        "\\.",
        "\\s",
        "\\/",
        "é",
        "[\\d_-]",
        "\\u0041",
        "(?:)",
        "\\S",
        "[^\\W\\d]",
    ]
)


def _composed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    counts = st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "{2,}", "*?", "+?", "{1,2}?"])
    return (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})")
        | st.builds(lambda part, count: f"(?:{part}){count}", inner, counts)
    )


class ComposedTests(SynchronousTestCase):
    """Patterns composed at random."""

    @settings(max_examples=150, deadline=None)
    @given(st.recursive(ATOMS, _composed, max_leaves=10), st.integers(0, 2**32))
    def test_composed(self, pattern: str, seed: int) -> None:
        """Whatever a pattern is composed of, its texts match, for Python and for validators of JSON Schemas."""
        text = sample_pattern(pattern, random.Random(seed))
        self.assertTrue(re.fullmatch(pattern, text), (pattern, text))
        self.assertTrue(accepts(pattern, text), (pattern, text))
