"""How records are found in a file."""

import io
import json
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.dataset import reading
from vllmsim.scripts.dataset.faults import BadItem, BuildError
from vllmsim.scripts.dataset.reading import Item, Source

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def read(data: bytes) -> list[Item]:
    """Read a whole file."""
    return [*Source("f", io.BytesIO(data), len(data)).items()]


def found(data: bytes) -> list[tuple[int, Any]]:
    """List lines and values, or what is wrong with them."""
    return [(item.line, str(item.value) if isinstance(item.value, BadItem) else item.value) for item in read(data)]


class LineTests(SynchronousTestCase):
    """One object on each line."""

    def test_lines(self) -> None:
        """Each line is a record, with its number; blank ones are none."""
        self.assertEqual([(1, {"a": 1}), (3, {"b": "é"})], found('{"a": 1}\n \r\n{"b": "é"}'.encode()))
        self.assertEqual([], found(b""))
        self.assertEqual([], found(b" \n\n"))

    def test_blank(self) -> None:
        """However many blanks come first, they are not kept in memory."""
        self.patch(reading, "_PIECE", 1 << 10)
        for content in (b"", b'{"a": 1}', b'[{"a": 1}]'):
            source = Source("f", io.BytesIO(b" \n" * (1 << 20) + content))
            self.addCleanup(tracemalloc.stop)
            tracemalloc.start()
            self.assertEqual([{"a": 1}] if content else [], [item.value for item in source.items()])
            self.assertLess(tracemalloc.get_traced_memory()[1], 1 << 17)
            tracemalloc.stop()

    def test_mark(self) -> None:
        """A byte order mark is no part of what is read."""
        self.assertEqual([(1, {"a": 1})], found(b'\xef\xbb\xbf{"a": 1}\n'))
        self.assertEqual([(1, {"a": 1})], found(b'\xef\xbb\xbf[{"a": 1}]\n'))

    def test_bad(self) -> None:
        """A line that is no JSON is told with its place, and those behind it are read."""
        lines = [b'{"a": 1}', b'{"a": 1', b'{"a": "\xff"}', b"{" * 5, b"[" * 100_000, b'{"a": 2}']
        items = found(b"\n".join(lines))
        self.assertEqual([(1, {"a": 1}), (6, {"a": 2})], [items[0], items[-1]])
        self.assertEqual((2, "it is not JSON: Expecting ',' delimiter at column 8"), items[1])
        self.assertEqual((3, "it is not UTF-8 at byte 8"), items[2])
        self.assertIn("Expecting property name", items[3][1])
        self.assertIn("it is JSON that cannot be read", items[4][1])

    def test_lenient(self) -> None:
        """What requests may have that strict JSON has not is read: long numbers, and halves of surrogate pairs."""
        self.assertEqual([(1, {"a": 10**30, "b": "\ud800"})], found(b'{"a": 1%s, "b": "\\ud800"}' % (b"0" * 30)))

    def test_long(self) -> None:
        """A line that is longer than any conversation is bad, wherever it ends, and the next is read."""
        self.patch(reading, "_LONGEST", 20)
        self.patch(reading, "_PIECE", 7)
        long = '{"a": "%s"}' % ("x" * 40)
        expected = "it is longer than 20 bytes"
        self.assertEqual(
            [(1, {"a": 1}), (2, expected), (3, {"b": 2})], found(f'{{"a": 1}}\n{long}\n{{"b": 2}}'.encode())
        )
        self.assertEqual([(1, expected)], found(long.encode()))


class ArrayTests(SynchronousTestCase):
    """An array of objects."""

    def test_array(self) -> None:
        """Each element is a record, with the line where it begins."""
        self.assertEqual([(1, {"a": 1}), (3, {"b": [2]}), (4, 3)], found(b' [{"a": 1}\n,\n{"b": [\n2]}, 3\n]\n'))
        self.assertEqual([], found(b"[\n]\n"))

    @given(st.lists(JSON), st.sampled_from([None, 1]), st.integers(1, 50))
    def test_pieces(self, values: list[Any], indent: int | None, size: int) -> None:
        """However it is written, and wherever reading is cut, the elements are the same."""
        data = json.dumps(values, indent=indent, ensure_ascii=False).encode("utf-8", "replace")
        before, reading._PIECE = reading._PIECE, size  # type: ignore[misc]
        try:
            self.assertEqual(json.loads(data), [item.value for item in read(data)])
        finally:
            reading._PIECE = before  # type: ignore[misc]

    def test_faults(self) -> None:
        """What cannot be read is told with its line, and that nothing behind it can be."""
        for data, fault in {
            b'[{"a": 1},\n{"b" 2}]': "f, line 2: it is not JSON: Expecting ':' delimiter",
            b'[{"a": 1}\n{"b": 2}]': "f, line 2: , or ] is expected, and there is '{'",
            b'[{"a": 1},\n\n{"b": "': "f, line 3: the file ends in the middle of its array",
            b'[{"a": 1},\n': "f, line 2: the file ends in the middle of its array",
            b'[{"a": 1}\n': "f, line 2: the file ends in the middle of its array",
            b'[{"a": 1},\n]': "f, line 2: it is not JSON: Expecting value",
            b'[{"a": 1}]\n{"b": 2}': "f, line 2: there is something behind the array",
            b'[{"a": 1},\n{"b": "\xff"}]': "f, line 2: it is not UTF-8: invalid start byte",
            b'[{"a": "x\ty"}]': "f, line 1: it is not JSON: Invalid control character at",
            b"[1,\n" + b"[" * 100_000: "f, line 2: it is JSON that cannot be read",
        }.items():
            error = str(self.assertRaises(BuildError, read, data))
            self.assertEqual(fault, error[: len(fault)])
            self.assertTrue(error.endswith("; what follows cannot be read"), error)

    def test_memory(self) -> None:
        """An element that has no end is given up before all is in memory, and one with a fault at once."""
        self.patch(reading, "_LONGEST", 1000)
        self.patch(reading, "_PIECE", 100)
        for data, most in ((b'[{"a": "' + b"x" * 100_000, 3000), (b'[{"a" ' + b"x" * 100_000, 300)):
            source = Source("f", io.BytesIO(data))
            self.assertRaises(BuildError, list, source.items())
            self.assertLess(source.position, most)


class SourceTests(SynchronousTestCase):
    """The file."""

    def test_position(self) -> None:
        """It tells how much is read, as it is read."""
        self.patch(reading, "_PIECE", 10)
        for data in (b'{"a": 1}\n' * 9, b"[" + b'{"a": 1},' * 8 + b'{"a": 1}]'):
            source = Source("f", io.BytesIO(data))
            items = source.items()
            next(items)
            self.assertLessEqual(source.position, 30)
            self.assertEqual(8, len([*items]))
            self.assertEqual(len(data), source.position)

    def test_broken(self) -> None:
        """A disk that fails is told in a line."""

        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError(5, "Input/output error")

        error = self.assertRaises(BuildError, lambda: [*Source("f", Broken()).items()])
        self.assertEqual("f cannot be read: Input/output error", str(error))
