"""The file beside a database."""

import os
from array import array
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.dataset.making import DatasetTestCase, lengths_to_rows
from tests.dataset.test_places import places_of
from vllmsim.dataset.database import Stamp
from vllmsim.dataset.places import Places
from vllmsim.dataset.sidefile import load_places, save_places, side_path

PLACES = places_of(lengths_to_rows([(1, 2), (2, 5), (1, 1), (3, 9)]))


class NameTests(SynchronousTestCase):
    """Where it is."""

    def test_names(self) -> None:
        """Each table has its own; the usual one's is named after the database alone."""
        self.assertEqual(Path("/d/c.sqlite3.vllmsim-index"), side_path("/d/c.sqlite3", "llmd"))
        self.assertEqual(Path("/d/c.sqlite3.a%2Fb.vllmsim-index"), side_path("/d/c.sqlite3", "a/b"))


class SideFileTests(DatasetTestCase):
    """What is written and read."""

    def setUp(self) -> None:
        """Have a database with a side file."""
        super().setUp()
        self.name = self.database()
        self.stamp = Stamp.of(self.name)
        save_places(self.name, "llmd", self.stamp, PLACES)
        self.side = side_path(self.name, "llmd")

    def load(self, table: str = "llmd") -> Places | None:
        """Read the side file."""
        return load_places(self.name, table, self.stamp)

    def test_round_trip(self) -> None:
        """What is written is read, and nothing else is left."""
        loaded = self.load()
        assert loaded is not None
        for name in ("numbers", "lengths", "keys", "places"):
            self.assertEqual(getattr(PLACES, name), getattr(loaded, name))
        self.assertEqual({self.side.name, self.path.name}, self.files())

    def test_rights(self) -> None:
        """Whoever may read the database may read it."""
        for mode in (0o644, 0o600, 0o444):
            self.path.chmod(mode)
            save_places(self.name, "llmd", self.stamp, PLACES)
            self.assertEqual(mode, self.side.stat().st_mode & 0o777)

    def test_other_state(self) -> None:
        """It is of use for the database that it was made for, and for a copy, and for no other."""
        identity = self.stamp.identity
        self.stamp = evolve(self.stamp, identity=evolve(identity, device=(1, 2)))
        self.assertIsNotNone(self.load())
        self.assertIsNone(self.load("other"))
        for other in (
            evolve(self.stamp, counters=(0, 0)),
            evolve(self.stamp, identity=evolve(identity, size=1)),
            evolve(self.stamp, identity=evolve(identity, modified=1)),
            evolve(self.stamp, identity=evolve(identity, log=(1, 1))),
        ):
            self.assertIsNone(load_places(self.name, "llmd", other))

    def test_damaged(self) -> None:
        """A file that is not as it was written is of no use, wherever it differs."""
        content = self.side.read_bytes()
        start = content.index(b"\n")
        for place in (0, 5, start - 2, start, start + 1, len(content) - 1):
            self.side.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            self.assertIsNone(self.load(), place)
        for other in (b"", b"\n", b"{}\n", b"[]\n", content[:-1], content + b"x", content[: start + 1], b"x" * 9999):
            self.side.write_bytes(other)
            self.assertIsNone(self.load(), other)
        self.side.unlink()
        self.assertIsNone(self.load())
        self.side.mkdir()
        self.assertIsNone(self.load())

    def test_forged(self) -> None:
        """A file that promises more than it has, or places that there are not, is of no use; nor is a pipe."""
        content = self.side.read_bytes()
        for rows in (10**12, 10**17, 10**30, -1, 1.5):
            self.side.write_bytes(content.replace(b'"rows":4', b'"rows":' + str(rows).encode()))
            self.assertIsNone(self.load(), rows)
        for places in ([9, 0, 1, 2], [4, 0, 1, 2]):
            save_places(self.name, "llmd", self.stamp, evolve(PLACES, places=array("I", places)))
            self.assertIsNone(self.load(), places)
        self.side.unlink()
        os.mkfifo(self.side)
        self.assertIsNone(self.load())

    def test_cannot_be_written(self) -> None:
        """Where it cannot be, nothing is left; a file that cannot be put in its place is removed."""
        name = str(self.folder / "none" / "c.sqlite3")
        self.assertRaises(OSError, save_places, name, "llmd", self.stamp, PLACES)
        self.side.unlink()
        self.side.mkdir()
        self.assertRaises(OSError, save_places, self.name, "llmd", self.stamp, PLACES)
        self.assertEqual({self.side.name, self.path.name}, self.files())
