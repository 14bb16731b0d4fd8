# -*- test-case-name: tests.scripts.manual.test_roff -*-
"""The language of manual pages, as far as ours need it: man(7), which groff and mandoc both read.

A page is lines. One that begins with a dot, or with an apostrophe, is a request; in all others text is filled.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

_SIGNS: Final = str.maketrans(
    {
        "\\": r"\e",
        "-": r"\-",
        "'": r"\(aq",
        "`": r"\(ga",
        "^": r"\(ha",
        "~": r"\(ti",
    }
)
"""What would be printed as another sign, so that nobody could copy it."""
_WIDTH: Final = 78


def _guard(line: str) -> str:
    """Have a line be no request."""
    return rf"\&{line}" if line.startswith(".") else line


def text(words: str) -> str:
    """Write text on one line, so that nothing in it is a request."""
    return _guard(" ".join(words.split()).translate(_SIGNS))


def filled(words: str) -> list[str]:
    """Write text on as many lines as it takes."""
    escaped = " ".join(words.split()).translate(_SIGNS)
    return [_guard(line) for line in textwrap.wrap(escaped, _WIDTH, break_long_words=False, break_on_hyphens=False)]


def bold(words: str) -> str:
    """Write what is typed as it is."""
    return rf"\fB{text(words)}\fR"


def italic(words: str) -> str:
    """Write what stands for something else."""
    return rf"\fI{text(words)}\fR"


def title(name: str, number: int, date: str, release: str) -> list[str]:
    """Begin a page.

    :param number: the manual's section.
    :param date: as ``2026-11-23``.
    """
    return [f'.TH {text(name.upper())} {number} "{date}" "{text(release)}"', ".nh", ".ad l"]


def section(name: str) -> list[str]:
    """Begin a section."""
    return [f'.SH "{text(name.upper())}"']


def subsection(name: str) -> list[str]:
    """Begin a part of a section."""
    return [f'.SS "{text(name)}"']


def entry(term: str, *sentences: str) -> list[str]:
    """Explain a term.

    :param term: in roff, on one line.
    :param sentences: text.
    """
    return [".TP", term, *chain.from_iterable(map(filled, sentences))]


def paragraphs(words: str) -> Iterator[str]:
    """Write text whose paragraphs have an empty line between them; indented ones are examples and stay as they are."""
    for number, block in enumerate(re.split(r"\n(?:[ ]*\n)+", words.strip("\n"))):
        if block.startswith(" "):
            yield from example(block.splitlines())
        else:
            yield from ([".PP"] if number else [])
            yield from filled(block)


def example(lines: Iterable[str]) -> list[str]:
    """Show lines as they are."""
    return [".PP", ".EX", *(_guard(line.translate(_SIGNS)) for line in lines), ".EE"]
