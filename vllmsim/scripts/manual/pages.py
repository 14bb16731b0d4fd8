# -*- test-case-name: tests.scripts.manual.test_pages -*-
"""The manual's pages: vllmsim(1), vllmsim-dataset(1) and vllmsim.yaml(5)."""

from argparse import Action, ArgumentParser
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from vllmsim import __version__
from vllmsim.config.listing import flags_of, notes_of
from vllmsim.config.names import all_options
from vllmsim.config.option import Option, by_group
from vllmsim.config.schema import own_options
from vllmsim.scripts.calibrate import options as calibrate
from vllmsim.scripts.clock import command as clock
from vllmsim.scripts.dataset import options as dataset_options
from vllmsim.scripts.manual import roff

_RELEASE: Final = f"vllmsim {__version__}"
_VLLM: Final = "vllm"
"""The group of what means nothing here."""

_SYNOPSIS: Final = (
    ("vllmsim", "[serve] [MODEL] [OPTION...]"),
    ("vllmsim bench clock", "[--streams N] [--tokens N] [--json] [OPTION...]"),
    ("vllmsim calibrate", "REPORT... [--check REPORT] [--write FILE] [OPTION...]"),
)
_REQUESTS: Final = (
    ("--config FILE", "Read options from a YAML file, as vllmsim.yaml(5) describes it."),
    ("--print-config", "Show each option's effective value and where it comes from, then exit."),
    ("--check-config", "Say what is wrong with the options, with status 1 if anything is, then exit."),
    ("--help[=TOPIC]", "Show all options, or those of one group, or one option, then exit."),
    ("--help-plugins", "Show what can be chosen by name, such as latency models, with that of plugins, then exit."),
    ("--version", "Show the version, then exit."),
)
_ABOUT: Final = """\
Answers as a vLLM inference server would, in words, in time and in side effects, without a model or a GPU: over HTTP, on
port 8000 unless told otherwise, in the foreground, until it is told to stop.

Options come from the command line, the environment, the file that --config names and defaults, in this order. A wrong
one stops the start with a line for every problem. All that vllm serve takes is accepted.

A list takes words up to the next option, a switch has a --no- form, JSON takes members, as in --x.member VALUE, and
unambiguous abbreviations are understood. A duration is a text such as 100ms or 1.5s.
"""
_SIGNALS: Final = (
    ("TERM, INT", "Take no new requests, let those that run go on for shutdown-timeout, and exit. A second one exits."),
    ("HUP", "Read the configuration file again. What can change live changes, all of it or nothing."),
)
_FILES: Final = (
    ("/etc/vllmsim/sim.yaml", "The configuration of vllmsim.service; further ones are those of vllmsim@.service."),
    ("/etc/default/vllmsim", "Further options of vllmsim.service, as VLLMSIM_OPTS."),
    ("/usr/share/vllmsim/scenarios", "Scenarios to begin with."),
    ("/usr/local/lib/vllmsim", "Python packages of the administrator's, such as plugins."),
)
_STATUS: Final = (
    ("0", "It was told to stop, or has said what it was asked."),
    ("1", "It could not start; standard error says why."),
)
_FILE: Final = """\
A file of options for vllmsim(1), which --config names. The services of the Debian package read /etc/vllmsim/sim.yaml.

It is a YAML map. Its keys are the names of options without their dashes; - and _ are the same in them. Values that are
wrong, and keys that are not known, stop the start, with a line for every one of them.

  model: Qwen/Qwen3-0.6B
  port: 8000
  time-to-first-token: 200ms
  max-num-seqs: 64
  served-model-name: [qwen, default]
  kv-events-config: {enable_kv_cache_events: true, endpoint: "tcp://*:5557"}

A duration is a text such as 100ms or 1.5s; a bare number counts what the option says. A list may be one value alone.

After SIGHUP the file is read again. What can change live then does so, all of it or, if anything is wrong, nothing; for
the rest the log says that it waits for a restart.
"""


def daemon(date: str) -> str:
    """Write vllmsim(1)."""
    options = all_options()
    return _page(
        roff.title("vllmsim", 1, date, _RELEASE),
        *_beginning("vllmsim", "simulated vLLM inference server", _SYNOPSIS, _ABOUT),
        roff.section("options"),
        *_explained(_REQUESTS),
        *_grouped(options),
        roff.section("benchmark"),
        roff.paragraphs(f"vllmsim bench clock: {clock.parser().description}"),
        *_parsed(clock.parser()),
        [".PP"],
        roff.paragraphs(clock.parser().epilog or ""),
        roff.section("calibration"),
        roff.paragraphs(f"vllmsim calibrate: {calibrate.parser().description}"),
        *_parsed(calibrate.parser()),
        [".PP"],
        roff.paragraphs(calibrate.parser().epilog or ""),
        *_table("signals", _SIGNALS),
        *_table("environment", _variables(options)),
        *_table("files", _FILES),
        *_table("exit status", _STATUS),
        _see("vllmsim-dataset(1)", "vllmsim.yaml(5)"),
    )


def dataset(date: str) -> str:
    """Write vllmsim-dataset(1)."""
    parser = dataset_options.parser()
    synopsis = (("vllmsim-dataset", "[OPTION...] [INPUT]"),)
    return _page(
        roff.title("vllmsim-dataset", 1, date, _RELEASE),
        *_beginning("vllmsim-dataset", "make a database of answers for vllmsim", synopsis, parser.description or ""),
        roff.section("options"),
        *_parsed(parser),
        roff.section("notes"),
        roff.paragraphs(parser.epilog or ""),
        _see("vllmsim(1)", "vllmsim.yaml(5)"),
    )


def configuration(date: str) -> str:
    """Write vllmsim.yaml(5)."""
    return _page(
        roff.title("vllmsim.yaml", 5, date, _RELEASE),
        *_beginning("vllmsim.yaml", "configuration of vllmsim", (), _FILE),
        roff.section("options"),
        *chain.from_iterable(
            [roff.subsection(title), *(_key(option) for option in options)]
            for title, options in by_group(own_options())
        ),
        _see("vllmsim(1)"),
    )


def _page(*parts: Iterable[str]) -> str:
    return "\n".join(chain.from_iterable(parts)) + "\n"


def _beginning(name: str, what: str, synopsis: Iterable[tuple[str, str]], about: str) -> Iterator[Iterable[str]]:
    yield roff.section("name")
    yield [rf"{roff.text(name)} \- {roff.text(what)}"]
    for number, (command, words) in enumerate(synopsis):
        yield [".br"] if number else roff.section("synopsis")
        yield [f"{roff.bold(command)} {roff.text(words)}"]
    yield roff.section("description")
    yield roff.paragraphs(about)


def _grouped(options: Iterable[Option]) -> Iterator[list[str]]:
    for heading, members in by_group(options):
        yield roff.subsection(heading)
        for option in members:
            if option.group == _VLLM:
                yield roff.entry(roff.bold(flags_of(option)), option.help)
            else:
                yield roff.entry(roff.bold(flags_of(option)), option.help, _in_brackets(option))


def _in_brackets(option: Option) -> str:
    notes = notes_of(option)
    return f"({notes})" if notes else ""


def _key(option: Option) -> list[str]:
    return roff.entry(roff.bold(option.name), option.help, f"It must be {option.kind.allowed}.", _in_brackets(option))


def _parsed(parser: ArgumentParser) -> Iterator[list[str]]:
    """Explain the options of a parser of Python's, group by group."""
    for group in parser._action_groups:  # noqa: SLF001 - there is no other way to ask
        actions: list[Action] = group._group_actions  # noqa: SLF001
        if not actions:
            continue
        if group.title and group.title not in {"positional arguments", "options"}:
            yield roff.subsection(group.title.capitalize())
        if group.description:
            yield roff.filled(_sentence(group.description))
        for action in actions:
            flags = ", ".join(action.option_strings)
            value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
            yield roff.entry(roff.bold(f"{flags} {value}".strip()), _sentence((action.help or "").replace("%%", "%")))


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}."


def _variables(options: Iterable[Option]) -> Iterator[tuple[str, str]]:
    yield from sorted((each.environment, f"As --{each.name}.") for each in options if each.environment)


def _explained(rows: Iterable[tuple[str, str]]) -> Iterator[list[str]]:
    for term, meaning in rows:
        yield roff.entry(roff.bold(term), meaning)


def _table(name: str, rows: Iterable[tuple[str, str]]) -> Iterator[list[str]]:
    yield roff.section(name)
    yield from _explained(rows)


def _see(*others: str) -> list[str]:
    return [*roff.section("see also"), roff.text(", ".join(others))]
