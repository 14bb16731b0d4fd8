# -*- test-case-name: tests.config.test_listing -*-
"""Writes options for people: ``--help``, ``--print-config``, the sample file, and the documentation's table.

All four come from the schema and nothing else. The first three are for eyes and for YAML at once: what
``--print-config`` and the sample file say can be read back.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from vllmsim.config.describing import written
from vllmsim.config.kinds import Duration, Flag, Kind
from vllmsim.config.loading import Loaded
from vllmsim.config.names import all_options, find
from vllmsim.config.option import Option, by_group
from vllmsim.secrecy import MASK

_WIDTH: Final = 100
_INDENT: Final = 8

USAGE: Final = """\
Usage: vllmsim [serve] [MODEL] [OPTION...]
       twistd -n vllmsim [OPTION...]
       vllmsim bench clock [OPTION...]
       vllmsim calibrate REPORT... [OPTION...]

Answers as a vLLM inference server would, without a model or a GPU. "bench clock" tells how well this machine keeps the
time that a configuration asks for, and "calibrate" makes a configuration of what a benchmark has measured.

  --config FILE    read options from a YAML file; options on the command line come before it
  --print-config   show each option's effective value and where it comes from, then exit
  --check-config   say what is wrong with the options, if anything is, then exit
  --help[=TOPIC]   show all options, or those of one group, or one option
  --help-plugins   show what can be chosen by name, such as latency models, with that of plugins
  --version        show the version
"""


def _scalar(kind: Kind, value: Any) -> str:
    """Write a value on one line of YAML, which JSON is; secrets are not shown."""
    return json.dumps(written(kind, value), ensure_ascii=False)


def _default(option: Option) -> str:
    return _scalar(option.kind, option.default)


def notes_of(option: Option) -> str:
    """Name everything about an option that is not its sentence."""
    notes = [f"default {_default(option)}"] if option.default is not None else []
    if option.unit:
        notes.append(f"in {option.unit}" + (" if no unit is given" if isinstance(option.kind, Duration) else ""))
    if option.environment:
        notes.append(f"or ${option.environment}")
    if option.live:
        notes.append("can change live")
    if not option.acts:
        notes.append("accepted, has no effect")
    return "; ".join(notes)


def flags_of(option: Option) -> str:
    """Write all ways to give an option on a command line."""
    flag = f"--{option.name}"
    if isinstance(option.kind, Flag):
        return ", ".join([flag, f"--no-{option.name}", *option.aliases])
    return ", ".join([flag, *option.aliases]) + f" {option.kind.placeholder}"


def _help_lines(option: Option) -> Iterator[str]:
    yield f"  {flags_of(option)}"
    notes = notes_of(option)
    yield textwrap.fill(
        option.help + (f" ({notes})" if notes else ""),
        _WIDTH,
        initial_indent=" " * _INDENT,
        subsequent_indent=" " * _INDENT,
    )


def help_text(topic: str = "") -> str:
    """Write what ``--help`` shows.

    :param topic: nothing for the program's own options, ``all`` for vLLM's too, a group, or an option.
    """
    wanted = topic.lower().lstrip("-")
    if wanted and wanted != "all" and (meaning := find(wanted)):
        allowed = textwrap.fill(f"It must be {meaning.option.kind.allowed}.", _WIDTH, initial_indent=" " * _INDENT)
        return "\n".join([*_help_lines(meaning.option), allowed]) + "\n"
    lines = [USAGE]
    for title, options in by_group(all_options()):
        shown = wanted == "all" or (wanted in title.lower() if wanted else options[0].group != "vllm")
        if shown:
            lines += [f"{title}:", *(line for option in options for line in _help_lines(option)), ""]
    if not wanted:
        lines.append("Flags of vllm serve are accepted too: --help=all shows them.")
    return "\n".join(lines).rstrip() + "\n"


def print_config(loaded: Loaded) -> str:
    """Write every effective value, as YAML, with its source as the comment."""
    lines = []
    for title, options in by_group(all_options()):
        shown = [o for o in options if o.group != "vllm" or o.name in loaded.values]
        if not shown:
            continue
        lines += ["", f"# {title}"]
        for option in shown:
            given, origin = loaded.values.get(option.name, (None, "default"))
            value = getattr(loaded.configuration, option.attribute, given)
            hidden = option.secret and value not in {None, option.default}
            shown_value = f'"{MASK}"' if hidden else _scalar(option.kind, value)
            lines.append(f"{option.name}: {shown_value}  # {origin}")
    return "\n".join(lines).lstrip() + "\n"


def sample_yaml() -> str:
    """Write ``etc/vllmsim/sim.yaml``: every option, commented out, with its default; those of vLLM in a line each."""
    lines = [
        "# Configuration of vllmsim. Every option is here, commented out, with its default.",
        "# Durations are text such as 100ms or 1.5s, or a number of milliseconds.",
        "# Generated from the program's option table by `make sample`.",
    ]
    for title, options in by_group(all_options()):
        lines += ["", f"# ---- {title} ".ljust(_WIDTH, "-")]
        if options[0].group == "vllm":
            lines += ["", *(f"#{o.name}: {_default(o)}  # {o.help}" for o in options)]
            continue
        for option in options:
            notes = notes_of(option).removeprefix(f"default {_default(option)}").removeprefix("; ")
            comment = option.help + (f" ({notes})" if notes else "")
            lines += ["", *textwrap.wrap(comment, _WIDTH, initial_indent="# ", subsequent_indent="# ")]
            lines.append(f"#{option.name}: {_default(option)}")
    return "\n".join(lines) + "\n"


def options_table() -> str:
    """Write the documentation's page of options, in reST."""
    lines = []
    for title, options in by_group(all_options()):
        lines += [title, "-" * len(title), ""]
        for option in options:
            notes = notes_of(option)
            facts = [option.help, f"It must be {option.kind.allowed}.", f"{notes[:1].upper()}{notes[1:]}."]
            lines += [f"``{flags_of(option)}``", *(f"   {_plain(fact)}" for fact in facts if fact != "."), ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Write text so that reST reads no markup in it."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)
