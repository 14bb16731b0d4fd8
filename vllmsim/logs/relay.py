# -*- test-case-name: tests.logs.test_relay -*-
"""How events of ranks in processes come into the log of the process that supervises them.

A rank writes each event to its standard output, as RFC 7464 has it: a record separator, an object of JSON, and a
newline. The object has the event's time, what it is in JSON, and what it says as text where that says more. Whatever
else comes out of the process, as from a library in C, is text, and is logged as such.
"""

import json
from typing import IO, Final

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from zope.interface import implementer

from vllmsim.logs.formats import record_of
from vllmsim.logs.levels import RELAYED

SEPARATOR: Final = b"\x1e"
"""What an event begins with."""


@implementer(ILogObserver)
class Relay:
    """Writes events for the supervisor.

    :param output: where to.
    :param rank: whose they are.
    """

    def __init__(self, output: IO[str], rank: int) -> None:
        self._output = output
        self._rank = rank

    def __call__(self, event: LogEvent) -> None:
        """Take an event."""
        record = record_of(event, self._rank)
        if record is None:
            return
        text = eventAsText(event, includeTimestamp=False, includeSystem=False).rstrip("\n")
        whole = {"time": event.get("log_time"), "record": record, "text": None if text == record["message"] else text}
        self._output.write(f"{SEPARATOR.decode()}{json.dumps(whole)}\n")
        self._output.flush()


def read_event(line: bytes, rank: int) -> LogEvent | None:
    """Read an event again, behind its separator.

    :param rank: the rank whose process it is from.
    :return: None if it is none.
    """
    try:
        whole = json.loads(line)
        record = whole["record"]
        return {
            "log_time": whole["time"],
            "log_level": LogLevel.lookupByName(record["level"]),
            "log_namespace": record["namespace"],
            "log_format": "[rank {rank}] {text}",
            "rank": rank,
            "text": whole["text"] or record["message"],
            RELAYED: record,
        }
    except (ValueError, KeyError, TypeError):
        return None
