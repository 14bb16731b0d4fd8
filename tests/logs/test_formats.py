"""What an event looks like."""

import json
import re
from typing import Any

from twisted.logger import Logger, LogLevel, eventAsText
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.logs.formats import journal_format, json_format, record_of, text_format

WHEN = 1795339833.000123
HOSTILE = "a\nb\r\x1b[31m\x00\x7f\x85\u2028\u202e\ud800 <3>\x1e \u00e4"


class BadFormat:
    """Something that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no")


class FormatTestCase(SynchronousTestCase):
    """Tests with events."""

    def event(self, text: str = "said {word}", level: LogLevel = LogLevel.info, **fields: Any) -> dict[str, Any]:
        """Make an event as a logger does."""
        events: list[dict[str, Any]] = []
        observer: Any = events.append
        Logger("vllmsim.x", observer=observer).emit(level, text, **{"word": "hi", **fields})
        return events[0] | {"log_time": WHEN}

    def failure(self) -> dict[str, Any]:
        """Make an event with a traceback."""
        return self.event("went wrong", LogLevel.critical, log_failure=Failure(RuntimeError("first\nsecond")))


class TextTests(FormatTestCase):
    """For people."""

    def test_text(self) -> None:
        """An event is a line as twistd writes it."""
        text = text_format(self.event()) or ""
        self.assertTrue(re.fullmatch(r"2026-11-22T\S+ \[vllmsim\.x#info\] said hi\n", text), text)
        self.assertIs(None, text_format(self.event("")))

    def test_hostile(self) -> None:
        """What somebody else has sent begins no line and moves no cursor."""
        lines = (text_format(self.event(word=HOSTILE)) or "").split("\n")
        self.assertEqual("\tb\\r\\x1b[31m\\x00\\x7f\\x85\\u2028\\u202e\\ud800 <3>\\x1e \u00e4", lines[1])
        self.assertEqual((3, ""), (len(lines), lines[2]))


class JournalTests(FormatTestCase):
    """For systemd."""

    def test_priorities(self) -> None:
        """A line begins with the priority of its level, and has no time."""
        levels = {LogLevel.debug: 7, LogLevel.info: 6, LogLevel.warn: 4, LogLevel.error: 3, LogLevel.critical: 2}
        for level, priority in levels.items():
            line = f"<{priority}>[vllmsim.x#{level.name}] said hi\n"
            self.assertEqual(line, journal_format(self.event(level=level)))
        self.assertEqual("<6>[-#-] x\n", journal_format({"log_format": "x"}))
        self.assertIs(None, journal_format({}))

    def test_traceback(self) -> None:
        """Every line of a traceback has the priority, and none but the first looks like a beginning."""
        lines = (journal_format(self.failure()) or "").splitlines()
        self.assertEqual("<2>[vllmsim.x#critical] went wrong", lines[0])
        self.assertEqual([], [line for line in lines[1:] if not line.startswith("<2>\t")])
        self.assertIn("<2>\tFailure: builtins.RuntimeError: first", lines[1:-1])

    def test_hostile(self) -> None:
        """What somebody else has sent has no priority of its own."""
        lines = (journal_format(self.event(word="x\n<0>[a#b] forged\r<0>more")) or "").splitlines()
        self.assertEqual(["<6>[vllmsim.x#info] said x", "<6>\t<0>[a#b] forged\\r<0>more"], lines)

    def test_long(self) -> None:
        """No line is longer than the journal takes, and nothing of it is lost."""
        lines = (journal_format(self.event(word="\U0001f600" * 30_000)) or "").splitlines()
        self.assertEqual(30_000, "".join(lines).count("\U0001f600"))
        self.assertTrue(all(len(line.encode()) < 48 << 10 and line.startswith("<6>") for line in lines))


class JsonTests(FormatTestCase):
    """For programs."""

    def read(self, event: dict[str, Any]) -> Any:
        """Write an event and read it again: it is one line of ASCII."""
        line = json_format(event) or ""
        self.assertTrue(line.isascii() and line.endswith("\n") and line.count("\n") == 1, line)
        return json.loads(line, parse_constant=self.fail)

    def test_event(self) -> None:
        """An event has its time, level, namespace and message, and what it is made of."""
        expected = {
            "time": "2026-11-22T09:30:33.000123Z",
            "level": "info",
            "namespace": "vllmsim.x",
            "message": "said hi",
            "word": "hi",
            "rank": 3,
        }
        self.assertEqual(expected, self.read(self.event(rank=3)))
        self.assertEqual(expected, record_of(self.event(), 3))
        self.assertIs(None, json_format(self.event("")))

    def test_fields(self) -> None:
        """Fields are what JSON can say of them: bytes are text, and what means nothing elsewhere is left out."""
        deep: list[Any] = []
        deep.append(deep)
        fields: dict[str, Any] = {
            "yes": True, "no": None, "big": 1 << 80, "share": 0.5, "endless": float("inf"), "data": b"\xffx",
            "items": [1, object(), (2,), frozenset({3})], "map": {1: "x", "gone": object()}, "thing": object(),
            "broken": BadFormat(),
        }  # fmt: skip
        record = self.read(self.event(**fields, deep=deep))
        expected = {
            "yes": True, "no": None, "big": 1 << 80, "share": 0.5, "endless": "inf", "data": "\\xffx",
            "items": [1, [2], [3]], "map": {"1": "x"},
        }  # fmt: skip
        self.assertEqual(expected, {name: record[name] for name in fields if name in record})
        self.assertEqual(1, json.dumps(record["deep"]).count("[]"))

    def test_names(self) -> None:
        """A field that is called as one of ours is keeps its value under another name."""
        record = self.read(self.event(time=1, message=2, namespace=3))
        names = ("message", "time_", "message_", "namespace_")
        self.assertEqual(("said hi", 1, 2, 3), tuple(record[name] for name in names))

    def test_hostile(self) -> None:
        """Whatever is in a field, the line is whole, and the field is what was sent."""
        record = self.read(self.event(word=HOSTILE))
        self.assertEqual(HOSTILE.replace("\ud800", "\\ud800"), record["word"])
        self.assertEqual(f"said {record['word']}", record["message"])

    def test_failure(self) -> None:
        """A traceback is text of its own, not part of the message."""
        record = self.read(self.failure())
        self.assertEqual("went wrong", record["message"])
        self.assertTrue(record["failure"].startswith("Traceback (most recent call last):\n"), record)
        self.assertTrue(record["failure"].endswith("builtins.RuntimeError: first\nsecond"), record)

    def test_unwritable(self) -> None:
        """An event whose message cannot be made is not lost."""
        self.assertIn("Unable to format event", self.read(self.event("said {nothing}"))["message"])
        self.assertIn("no", self.read(self.event("said {word}", word=BadFormat()))["message"])

    def test_legacy(self) -> None:
        """An event of Twisted's old log says nothing twice."""
        event = {
            "message": ("old",), "time": WHEN, "isError": 0, "system": "-", "log_format": "{log_text}",
            "log_text": "old", "log_time": WHEN, "log_namespace": "log_legacy", "log_level": LogLevel.info,
        }  # fmt: skip
        self.assertEqual(["time", "level", "namespace", "message"], list(self.read(event)))

    def test_summary(self) -> None:
        """An event that says much as text says it shortly here, where the rest is fields."""
        event = self.event("{summary}\n{word}", summary="POST /x")
        self.assertEqual("POST /x", self.read(event)["message"])
        self.assertIn("POST /x\nhi", eventAsText(event))
