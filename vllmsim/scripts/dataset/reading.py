# -*- test-case-name: tests.scripts.dataset.test_reading -*-
"""Reads records of JSON one by one, however many there are: what is in memory is one record and a little more.

A file is either an array of objects, or one object on each line::

    [{"id": "a", "conversations": [...]}, ...]

    {"messages": [...]}
    {"messages": [...]}

Its first character tells which. An array is read with the decoder of the standard library, from one element to the
next: unlike parsers of events it tells the line of what is wrong, and it needs no package of its own.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import orjson
from attrs import define, field, frozen

from vllmsim.scripts.dataset.faults import BadItem, BuildError

_PIECE: Final = 1 << 20
_LONGEST: Final = 1 << 26
"""The most bytes of a line, or characters of an element: more than any conversation has."""
_CUT: Final = 16
"""An element whose fault is so many characters before the end of what is read may just not be there yet."""
_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_BEHIND: Final = frozenset(", ]\t\r\n")
_MARK: Final = codecs.BOM_UTF8


@frozen
class Item:
    """One record as it was found.

    :param line: where it begins, from 1.
    :param value: what it is, or why it cannot be read.
    """

    line: int
    value: Any | BadItem


@define(eq=False)
class Source:
    """A file that counts what is read of it.

    :param name: how messages call it.
    :param size: its bytes, if that is known.
    """

    name: str
    _file: BinaryIO
    size: int | None = None
    position: int = field(init=False, default=0)
    """How many bytes have been read."""
    _begun: bytes = field(init=False, default=b"")

    def items(self) -> Iterator[Item]:
        """Read every record.

        :raises BuildError: when what follows cannot be told apart.
        """
        return _Array(self.name, self._read).items() if self._first() == b"[" else self._lines()

    def _first(self) -> bytes:
        """Find the first character, and remember what is read for it."""
        while not (text := self._begun.removeprefix(_MARK).lstrip()):
            piece = self._take()
            if not piece:
                return b""
            self._begun = (self._begun + piece)[-_PIECE:]
        return text[:1]

    def _read(self) -> bytes:
        piece, self._begun = self._begun or self._take(), b""
        self.position += len(piece)
        return piece

    def _take(self) -> bytes:
        try:
            return self._file.read(_PIECE)
        except OSError as error:
            raise BuildError(f"{self.name} cannot be read: {error.strerror}") from None

    def _lines(self) -> Iterator[Item]:
        for number, line in enumerate(self._cut_lines(), 1):
            if line is None:
                yield Item(number, BadItem(f"it is longer than {_LONGEST} bytes"))
            elif text := line.removeprefix(_MARK).strip():
                yield Item(number, _parse(text))

    def _cut_lines(self) -> Iterator[bytes | None]:
        """Cut at the ends of lines; one that is too long is None."""
        rest, long = b"", False
        while piece := self._read():
            *lines, rest_of_piece = piece.split(b"\n")
            for line in lines:
                whole, rest = rest + line, b""
                yield None if long or len(whole) > _LONGEST else whole
                long = False
            rest += rest_of_piece
            if len(rest) > _LONGEST:
                rest, long = b"", True
        if rest or long:
            yield None if long else rest


def _parse(text: bytes) -> Any | BadItem:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        # Python's own reads more: halves of surrogate pairs, and numbers of any length.
        return json.loads(text)
    except json.JSONDecodeError as error:
        return BadItem(f"it is not JSON: {error.msg} at column {error.colno}")
    except UnicodeDecodeError as error:
        return BadItem(f"it is not UTF-8 at byte {error.start + 1}")
    except (ValueError, RecursionError) as error:
        return BadItem(f"it is JSON that cannot be read: {error}")


class _Array:
    """Reads the elements of an array.

    :param read: gives the next bytes, none at the end.
    """

    def __init__(self, name: str, read: Callable[[], bytes]) -> None:
        self._name, self._bytes = name, read
        self._text, self._at, self._line, self._ended = "", 0, 1, False
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._elements = json.JSONDecoder()

    def items(self) -> Iterator[Item]:
        self._expect("[")
        if self._next() == "]":
            self._at += 1
        else:
            yield self._element()
            while self._expect(",]") == ",":
                self._next()
                yield self._element()
        if self._next():
            raise self._fault("there is something behind the array")

    def _next(self) -> str:
        """Pass over blanks.

        :return: the character behind them; nothing at the end.
        """
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            assert blanks is not None
            self._pass(blanks.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _expect(self, characters: str) -> str:
        found = self._next()
        if not found:
            raise self._fault("the file ends in the middle of its array")
        if found not in characters:
            raise self._fault(f"{' or '.join(characters)} is expected, and there is {found!r}")
        self._at += 1
        return found

    def _element(self) -> Item:
        line = self._line
        while True:
            try:
                value, end = self._elements.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                self._wait(error)
            except (ValueError, RecursionError) as error:
                raise self._fault(f"it is JSON that cannot be read: {error}") from None
            else:
                # More digits may follow those of a number.
                if self._text[end : end + 1] in _BEHIND or isinstance(value, dict) or not self._more():
                    self._pass(end)
                    return Item(line, value)

    def _wait(self, error: json.JSONDecodeError) -> None:
        """Read on, if the fault may be that the element is not there yet.

        :raises BuildError: if it is not.
        """
        open_text, behind = error.msg.startswith("Unterminated"), error.pos - self._at
        if open_text or error.pos > len(self._text) - _CUT:
            if len(self._text) - self._at > _LONGEST:
                raise self._fault(f"an element is longer than {_LONGEST} characters")
            if self._more():
                return
        self._pass(self._at + behind)
        if open_text or not self._next():
            raise self._fault("the file ends in the middle of its array")
        raise self._fault(f"it is not JSON: {error.msg}")

    def _pass(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self) -> bool:
        """Read on: as much again as there is, so that long elements are not tried too often.

        :return: whether there was more.
        """
        self._text, self._at = self._text[self._at :], 0
        pieces, wanted = [self._text], max(1, len(self._text))
        while wanted > 0 and not self._ended:
            piece = self._bytes()
            self._ended = not piece
            try:
                text = self._decode.decode(piece, final=self._ended)
            except UnicodeDecodeError as error:
                self._line += sum(each.count("\n") for each in pieces) + error.object[: error.start].count(b"\n")
                raise self._fault(f"it is not UTF-8: {error.reason}") from None
            pieces.append(text)
            wanted -= len(text)
        before = len(self._text)
        self._text = "".join(pieces)
        return len(self._text) > before

    def _fault(self, reason: str) -> BuildError:
        return BuildError(f"{self._name}, line {self._line}: {reason}; what follows cannot be read")
