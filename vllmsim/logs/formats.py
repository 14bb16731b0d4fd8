# -*- test-case-name: tests.logs.test_formats -*-
"""How an event is written: as text, for systemd's journal, or as JSON.

**text** is twistd's own: a time, where the event is from, and what it says; further lines begin with a tab.

**journal** is what systemd's journal takes from standard output. Each line begins with its priority, ``<3>`` for an
error; there is no time, since the journal has its own, and further lines begin with a tab. The journal cuts lines of
48 KiB, and would not know the priority of the rest: longer ones are cut before.

**json** is one object on one line, in ASCII::

    {"time": "2026-11-23T05:30:00.123456Z", "level": "info", "namespace": "vllmsim.service.RankService",
     "message": "Starting vLLM server on http://0.0.0.0:8000", "url": "http://0.0.0.0:8000"}

with what the event is made of, as far as JSON can say it, ``rank`` where that is known, and a traceback as ``failure``.
An event whose text is long because it shows all that says it shortly as ``summary``, which then is the message.

Whatever a client has sent, none of them shows a control character or a line that is not the event's own.
"""

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from twisted.logger import LogEvent, LogLevel, eventAsText, formatEvent, formatEventAsClassicLogText

from vllmsim.logs.levels import RELAYED

Format: TypeAlias = Callable[[LogEvent], str | None]
"""Writes an event with the end of its last line; None for one that says nothing."""

_UNSAFE: Final = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
"""What makes a terminal or a reader see something else than there is; newlines and tabs are not among it."""
_SURROGATES: Final = "[\ud800-\udfff]"
_PRIORITIES: Final[Mapping[Any, int]] = {
    LogLevel.debug: 7, LogLevel.info: 6, LogLevel.warn: 4, LogLevel.error: 3, LogLevel.critical: 2,
}  # fmt: skip
_LONGEST: Final = 12_000
"""Characters of a line, which may take four bytes each."""
_OURS: Final = frozenset({"time", "level", "namespace", "message", "failure"})
_LEGACY: Final = frozenset({"time", "message", "isError", "system", "format", "why", "failure"})
_DEEPEST: Final = 8
_NOTHING: Final = object()


def harmless(text: str) -> str:
    """Write what no terminal should get as an escape. Newlines and tabs stay."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return re.sub(_UNSAFE, lambda match: match[0].encode("unicode_escape").decode(), text)


def text_format(event: LogEvent) -> str | None:
    """Write an event as twistd does."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else harmless(text)


def journal_format(event: LogEvent) -> str | None:
    """Write an event for the journal."""
    text = eventAsText(event, includeTimestamp=False)
    if not text:
        return None
    priority = _PRIORITIES.get(event.get("log_level"), 6)
    lines = harmless(text.rstrip("\n")).replace("\n", "\n\t").split("\n")
    pieces = [line[at : at + _LONGEST] for line in lines for at in range(0, len(line), _LONGEST)]
    return "".join(f"<{priority}>{piece}\n" for piece in pieces)


def json_format(event: LogEvent) -> str | None:
    """Write an event as JSON."""
    record = event.get(RELAYED) or record_of(event)
    return None if record is None else json.dumps(record) + "\n"


FORMATS: Final[Mapping[str, Format]] = {"text": text_format, "journal": journal_format, "json": json_format}
"""By the names that the option knows."""


def record_of(event: LogEvent, rank: int | None = None) -> dict[str, Any] | None:
    """Make an object that JSON can write of an event.

    :param rank: the rank whose event it is, if it does not say so itself.
    :return: None for an event that says nothing.
    """
    summary = event.get("summary")
    message = summary if isinstance(summary, str) else formatEvent(event)
    failure = event.get("log_failure")
    if not message and failure is None:
        return None
    level = event.get("log_level")
    record: dict[str, Any] = {
        "time": _time(event.get("log_time")),
        "level": "info" if level is None else level.name,
        "namespace": _whole(str(event.get("log_namespace", "-"))),
        "message": _whole(message),
    }
    if rank is not None:
        record["rank"] = rank
    without = _LEGACY if "isError" in event else ()
    for name, value in event.items():
        if name.startswith("log_") or name in without or name == "summary":
            continue
        plain = _plain(value)
        if plain is not _NOTHING:
            record[f"{name}_" if name in _OURS else name] = plain
    if failure is not None:
        record["failure"] = _whole(traceback_of(event))
    return record


def traceback_of(event: LogEvent) -> str:
    """Write the traceback of an event that has one."""
    return eventAsText(
        {"log_failure": event["log_failure"], "log_format": ""}, includeTimestamp=False, includeSystem=False
    ).strip("\n")


def _time(seconds: float | None) -> str:
    when = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _whole(text: str) -> str:
    """Write halves of characters, which JSON has no place for, as escapes."""
    if text.isascii():
        return text
    return re.sub(_SURROGATES, lambda match: match[0].encode("unicode_escape").decode(), text)


def _plain(value: object, depth: int = 0) -> Any:
    """Make a value that JSON can write; :data:`_NOTHING` of one that means nothing outside this program."""
    match value:
        case None | bool():
            plain: Any = value
        case str():
            plain = _whole(str(value))
        case int():
            plain = int(value)
        case float():
            plain = float(value) if math.isfinite(value) else str(value)
        case bytes():
            plain = value.decode("utf-8", "backslashreplace")
        case Mapping() if depth < _DEEPEST:
            members = {_whole(str(name)): _plain(each, depth + 1) for name, each in value.items()}
            plain = {name: each for name, each in members.items() if each is not _NOTHING}
        case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
            plain = [each for each in (_plain(one, depth + 1) for one in value) if each is not _NOTHING]
        case _:
            plain = _NOTHING
    return plain
