"""Texts in formats."""

import random

from jsonschema_rs import validator_for
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.structured.formats import WORDS, draw_format

FORMATS = [
    *("date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
    *("uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid", "regex", "json-pointer"),
    *("relative-json-pointer", "byte"),
]
LONG = {"email", "hostname", "uri", "uri-reference", "json-pointer", "byte", "regex"}


class FormatTests(SynchronousTestCase):
    """Every format that JSON Schema names."""

    def test_valid(self) -> None:
        """A text is what its format says, also where it must be longer than it usually is."""
        generator = random.Random(1)
        for name in FORMATS:
            validator = validator_for({"format": name}, validate_formats=True, offline=True)
            for _ in range(100):
                least = generator.choice((0, 0, 20, 22, 27, 64, 130, 250))
                text = draw_format(name, generator, least)
                self.assertTrue(text and validator.is_valid(text), (name, text))

    def test_lengths(self) -> None:
        """Formats whose texts can be long are as long as they must be."""
        for name in LONG:
            for least in (1, 21, 63, 64, 65, 70, 150):
                text = draw_format(name, random.Random(least), least)
                self.assertGreaterEqual(len(text or ""), least, name)

    def test_unknown(self) -> None:
        """Nothing is written for a format that is not known."""
        self.assertIsNone(draw_format("password", random.Random(1), 0))

    def test_words(self) -> None:
        """Words can stand wherever letters can."""
        self.assertTrue(all(word.isascii() and word.isalpha() and word.islower() for word in WORDS))
        self.assertEqual(len(WORDS), len(set(WORDS)))
