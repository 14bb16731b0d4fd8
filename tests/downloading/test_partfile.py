"""The part of a file that is being downloaded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.downloading.fakeweb import new_directory
from vllmsim.downloading.partfile import Busy, PartFile

URL = "http://data.test/d"


class PartTests(SynchronousTestCase):
    """What is left of it, and to whom it belongs."""

    def setUp(self) -> None:
        """Make a directory."""
        self.directory = new_directory(self)
        self.path = self.directory / "d"

    def take(self, url: str = URL) -> PartFile:
        """Take a part that is to be had."""
        part = PartFile.take(self.path, url)
        assert part is not None
        return part

    def names(self) -> list[str]:
        """List the directory."""
        return sorted(each.name for each in self.directory.iterdir())

    def test_published(self) -> None:
        """The file is there when it is published, and nothing else; then it is not taken again."""
        part = self.take()
        part.restart(URL, '"v"')
        part.write(b"abc")
        self.assertEqual(["d.part", "d.part.etag"], self.names())
        part.sync()
        part.publish()
        self.assertEqual((["d"], b"abc"), (self.names(), self.path.read_bytes()))
        self.assertIsNone(PartFile.take(self.path, URL))

    def test_kept(self) -> None:
        """A part of a version that is known is left to who comes next; any other is not."""
        for etag, url, size in (('"v"', URL, 3), ("", URL, 0), ('"v"', URL + "2", 0)):
            part = self.take()
            part.restart(URL, etag)
            part.write(b"abc")
            part.keep()
            again = self.take(url)
            self.assertEqual((size, etag if size else ""), (again.size, again.etag))
            again.discard()
            self.assertEqual([], self.names())

    def test_secrets(self) -> None:
        """Nothing of an address is on the disk, which may have a password or a signature in it."""
        url = "https://me:hunter2@host/d?sig=hunter2"
        part = self.take(url)
        part.restart(url, '"v"')
        part.write(b"abc")
        part.keep()
        self.assertNotIn(b"hunter2", (self.directory / "d.part.etag").read_bytes())
        again = self.take(url)
        self.assertEqual(3, again.size)
        again.discard()

    def test_nonsense_record(self) -> None:
        """A record that says nothing, or a part without a record, is of no use."""
        for record in (b"", b"[]", b"{}", b"\xff", b'{"of": 1}'):
            (self.directory / "d.part").write_bytes(b"abc")
            (self.directory / "d.part.etag").write_bytes(record)
            part = self.take()
            self.assertEqual(0, part.size)
            self.assertEqual(b"", (self.directory / "d.part").read_bytes())
            part.discard()

    def test_locked(self) -> None:
        """Who else wants it is told that it is busy, until it is not."""
        part = self.take()
        self.assertRaises(Busy, self.take)
        part.discard()
        self.take().discard()

    def test_symbolic_link(self) -> None:
        """A link in the place of the part is not written through."""
        (self.directory / "d.part").symlink_to(self.directory / "target")
        self.assertRaises(OSError, self.take)
        self.assertEqual(["d.part"], self.names())

    def test_published_meanwhile(self) -> None:
        """Who comes just when the file is published finds it, and leaves no part."""
        exists = Path.exists
        looks: list[Any] = []

        def appear(path: Path) -> bool:
            looks.append(path)
            if len(looks) == 2:
                path.write_bytes(b"theirs")
            return exists(path)

        self.patch(Path, "exists", appear)
        self.assertIsNone(PartFile.take(self.path, URL))
        self.assertEqual(["d"], self.names())

    def test_many_processes(self) -> None:
        """Of many processes that want a file at once each sees it whole, and one at a time writes it."""
        script = (
            "import sys, time\nfrom pathlib import Path\nfrom vllmsim.downloading.partfile import Busy, PartFile\n"
            "path = Path(sys.argv[1])\n"
            "while True:\n"
            "    try: part = PartFile.take(path, 'u')\n"
            "    except Busy: time.sleep(0.001); continue\n"
            "    if part is None: break\n"
            "    for _ in range(100): part.write(b'0123456789')\n"
            "    part.sync(); part.publish(); print('wrote')\n"
            "assert path.read_bytes() == b'0123456789' * 100\n"
        )
        running = [
            subprocess.Popen([sys.executable, "-c", script, str(self.path)], stdout=subprocess.PIPE) for _ in range(4)
        ]
        outputs = [process.communicate(timeout=60)[0] for process in running]
        self.assertEqual([0] * 4, [process.returncode for process in running])
        self.assertEqual(b"wrote\n", b"".join(outputs))
        self.assertEqual(["d"], self.names())
