# -*- test-case-name: tests.config.test_names -*-
"""Which option a flag or a YAML key means.

``-`` and ``_`` are the same. A yes-or-no option ``x`` has ``no-x`` beside it, ``enable-x`` has ``disable-x``,
``disable-x`` has ``enable-x``, and each of these has its ``no-`` form: all the spellings that argparse and vLLM have
had for it.
"""

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Final

from attrs import frozen

from vllmsim.config.kinds import Flag
from vllmsim.config.option import Option
from vllmsim.config.schema import own_options
from vllmsim.config.vllm_flags import vllm_options

MOST_NAMED: Final = 500
"""More names than there are options; nobody is told of so many faults."""
_LONGEST_GUESSED: Final = 100
"""Comparing a name with all others takes some milliseconds, and more if it is long."""


@frozen
class Meaning:
    """What a name stands for.

    :param negated: whether the name says the opposite of the option, as ``no-x`` does.
    """

    option: Option
    negated: bool = False


@cache
def all_options() -> tuple[Option, ...]:
    """List every option that parses: the program's own, then vLLM's that mean nothing here."""
    return own_options() + tuple(vllm_options())


def _spellings(option: Option) -> Iterator[tuple[str, bool]]:
    for name in (option.name, *(alias[2:] for alias in option.aliases if alias.startswith("--"))):
        yield name, False
        if not isinstance(option.kind, Flag):
            continue
        yield f"no-{name}", True
        for prefix, opposite in (("enable-", "disable-"), ("disable-", "enable-")):
            if name.startswith(prefix):
                yield opposite + name.removeprefix(prefix), True
                yield f"no-{opposite}{name.removeprefix(prefix)}", False


@cache
def long_names() -> dict[str, Meaning]:
    """Map every long name, without dashes, to what it means."""
    return {spelling: Meaning(option, negated) for option in all_options() for spelling, negated in _spellings(option)}


@cache
def short_names() -> dict[str, Meaning]:
    """Map every flag with a single dash to what it means."""
    return {
        alias: Meaning(option) for option in all_options() for alias in option.aliases if not alias.startswith("--")
    }


def find(name: str) -> Meaning | None:
    """Look up a YAML key, or a long flag without its dashes."""
    return long_names().get(name.replace("_", "-"))


def complete(prefix: str) -> list[str]:
    """Find the flags that an abbreviation may mean.

    :return: names of different options; one if the abbreviation is clear.
    """
    prefix = prefix.replace("_", "-")
    found: dict[tuple[str, bool], str] = {}
    for name, meaning in long_names().items():
        if name.startswith(prefix):
            found.setdefault((meaning.option.name, meaning.negated), name)
    return list(found.values())


def suggest(name: str) -> str | None:
    """Guess which known name a wrong one was meant to be."""
    if len(name) > _LONGEST_GUESSED:
        return None
    matches = difflib.get_close_matches(name.replace("_", "-"), long_names(), n=1, cutoff=0.7)
    return matches[0] if matches else None
