# -*- test-case-name: tests.assembly.test_tokenizing -*-
"""The tokenizer that a configuration asks for, made. Each is imported when it is wanted: most take long to load."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final

from twisted.internet.defer import Deferred

from vllmsim.clocks.clocks import Clocks
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import ITokenizer
from vllmsim.tokenization.choice import choose
from vllmsim.tokenization.words import WordTokenizer

BUILTIN: Final = str(files("vllmsim.tokenization") / "builtin")
"""The folder of the tokenizer that comes with the program."""


def make_tokenizer(
    configuration: Configuration,
    environ: Mapping[str, str],
    clocks: Clocks,
    defer_to_thread: Callable[..., Deferred[Any]],
) -> ITokenizer:
    """Make a tokenizer.

    :param environ: the environment, which says where the hub's cache is.
    :param clocks: that of real time provides connections to a render service; chat templates tell the simulated date.
    :param defer_to_thread: runs a function off the reactor.
    :raises SystemExit: when it cannot be read, or is not there.
    """
    c = configuration
    try:
        choice = choose(c, environ)
    except ValueError as error:
        raise SystemExit(f"vllmsim: cannot start: {error}") from error
    if choice.kind == "words":
        return WordTokenizer(defer_to_thread)
    if choice.kind == "plugin":
        from vllmsim.assembly.plugging import shared_plugging  # noqa: PLC0415

        return shared_plugging(c, clocks.real, defer_to_thread).tokenizer(WordTokenizer(defer_to_thread))
    if choice.kind == "remote":
        from vllmsim.tokenization.render.tokenizer import remote_tokenizer  # noqa: PLC0415

        return remote_tokenizer(c, clocks.real, defer_to_thread)
    path = BUILTIN if choice.kind == "builtin" else choice.path
    if path is None:
        raise SystemExit(f"vllmsim: cannot start: the tokenizer {c.tokenizer!r} is not in the hub's cache")
    from vllmsim.tokenization.huggingface import load_tokenizer  # noqa: PLC0415

    return load_tokenizer(
        str(path),
        defer_to_thread,
        chat_template=c.chat_template,
        content_format=c.chat_template_content_format,
        arguments=c.default_chat_template_kwargs,
        epoch=clocks.epoch,
    )
