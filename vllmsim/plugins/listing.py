# -*- test-case-name: tests.plugins.test_listing -*-
"""Writes what ``--help-plugins`` shows: at each seam our own and those of others, and where these come from."""

import textwrap
from collections.abc import Iterator
from typing import Final

from vllmsim.interfaces.plugins import (
    IBlockEventPublisherFactory,
    IFactory,
    IFailureFactory,
    ILatencyModelFactory,
    IMiddlewareFactory,
    IResponseSourceFactory,
    IStepTimeFactory,
    ITokenizerFactory,
)
from vllmsim.plugins.ours import OURS
from vllmsim.plugins.registry import Plugin, search

_WIDTH: Final = 100
_TITLES: Final[tuple[tuple[type[IFactory], str], ...]] = (
    (IResponseSourceFactory, "Response sources (--mode NAME)"),
    (ILatencyModelFactory, "Latency models (--latency-calculator NAME)"),
    (IStepTimeFactory, "Step times (--step-time NAME)"),
    (ITokenizerFactory, "Tokenizers (--tokenizer; plugin:NAME for those of plugins)"),
    (IFailureFactory, "Failures (--failure-plugins NAME ...)"),
    (IBlockEventPublisherFactory, "Publishers of KV events (--kv-events-publisher NAME)"),
    (IMiddlewareFactory, "Middleware (--middleware)"),
)


def plugins_text() -> str:
    """Write what there is, importing every module with plugins."""
    found, broken = search()
    lines = ["What can be chosen by name, and where it comes from if not from the program itself.", ""]
    for seam, title in _TITLES:
        lines += [f"{title}:", *_seam(seam, [each for each in found if each.seam is seam]), ""]
    if broken:
        lines += ["Broken:", *(f"  {each.file}: {each.reason}" for each in broken), ""]
    return "\n".join(lines).rstrip() + "\n"


def _seam(seam: type[IFactory], found: list[Plugin]) -> Iterator[str]:
    if not found and not OURS[seam]:
        yield "  none"
    for name, text in OURS[seam].items():
        yield f"  {name}"
        yield _text(text)
    names = [each.name for each in found]
    for plugin in sorted(found, key=lambda each: each.name):
        twice = " (cannot be used: more than one has this name)" if names.count(plugin.name) > 1 else ""
        yield f"  {plugin.name}{twice}"
        if plugin.help:
            yield _text(plugin.help)
        # A path is not broken over lines, so that it can be copied.
        yield f"        from {plugin.file}"


def _text(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
