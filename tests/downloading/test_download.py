"""Downloading files."""

import hashlib
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs
from twisted.web.server import NOT_DONE_YET, Request

from tests.downloading.fakeweb import Served, WebTestCase, hang_up
from vllmsim.downloading.download import Wanted
from vllmsim.downloading.partfile import PartFile
from vllmsim.downloading.web import DownloadError, Refused, Remote

URL = "http://data.test/d.sqlite3"
WHERE = "data.test/d.sqlite3"
CONTENT = bytes(range(256)) * 1000


def silent(_request: Request) -> Any:
    """Never answer."""
    return NOT_DONE_YET


class DownloadTests(WebTestCase):
    """One file, from one place."""

    def setUp(self) -> None:
        """Say where it goes."""
        super().setUp()
        self.path = self.directory / "new" / "d.sqlite3"

    def fetch(self, url: str = URL, seconds: float = 100.0, **facts: Any) -> Deferred[None]:
        """Download it."""
        return self.run_to_end(self.downloader.fetch(Wanted(Remote(url), "dataset", **facts), self.path), seconds)

    def refused(self, **facts: Any) -> str:
        """Fail to download it, leaving nothing behind."""
        error = self.failureResultOf(self.fetch(**facts), DownloadError)
        self.assertEqual([], self.there())
        self.assertEqual([], self.clock.getDelayedCalls())
        return str(error.value)

    def ranges(self) -> list[str | None]:
        """List the ranges that were asked for."""
        return [headers.get("range") for _, _, headers in self.web.asked]

    def test_whole(self) -> None:
        """A file is there afterwards, in a directory that is made, and nothing else is; bytes come as they are."""
        self.web.files[WHERE] = Served(CONTENT)
        self.successResultOf(self.fetch())
        self.assertEqual(CONTENT, self.path.read_bytes())
        self.assertEqual(["new/d.sqlite3"], self.there())
        self.assertEqual("identity", self.web.asked[0][2]["accept-encoding"])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_there(self) -> None:
        """A file that is there is not asked for."""
        self.path.parent.mkdir()
        self.path.write_bytes(b"mine")
        self.successResultOf(self.fetch())
        self.assertEqual([], self.web.asked)
        self.assertEqual(b"mine", self.path.read_bytes())

    def test_unknown_length(self) -> None:
        """A file whose length is not told is downloaded too."""
        self.web.files[WHERE] = Served(CONTENT, chunked=True)
        self.successResultOf(self.fetch())
        self.assertEqual(CONTENT, self.path.read_bytes())

    def test_interrupted(self) -> None:
        """A transfer that is interrupted goes on where it was."""
        self.web.files[WHERE] = Served(CONTENT, cuts=[1000, 500])
        self.successResultOf(self.fetch())
        self.assertEqual(CONTENT, self.path.read_bytes())
        self.assertEqual([None, "bytes=1000-", "bytes=1500-"], self.ranges())
        self.assertEqual('"v1"', self.web.asked[1][2]["if-range"])
        self.assertEqual(["new/d.sqlite3"], self.there())

    def test_interrupted_without_ranges(self) -> None:
        """A server that knows no ranges sends all of it again."""
        self.web.files[WHERE] = Served(CONTENT, ranges=False, cuts=[1000])
        self.successResultOf(self.fetch())
        self.assertEqual(CONTENT, self.path.read_bytes())

    def test_interrupted_without_tag(self) -> None:
        """Without a strong entity tag nobody knows whether the rest belongs to the part, so that all is asked for."""
        for etag in ("", 'W/"v1"'):
            self.path.unlink(missing_ok=True)
            self.web.asked.clear()
            self.web.files[WHERE] = Served(CONTENT, etag=etag, cuts=[1000])
            self.successResultOf(self.fetch())
            self.assertEqual(CONTENT, self.path.read_bytes())
            self.assertEqual([None, None], self.ranges())

    def test_changed(self) -> None:
        """A file that has changed since the interruption is downloaded from its beginning."""

        def change(request: Request) -> Any:
            self.web.files[WHERE] = Served(b"new" * 1000, etag='"v2"')
            request.setHeader("ETag", '"v1"')
            request.setHeader("Content-Length", "5000")
            request.write(b"old")
            hang_up(request)
            return NOT_DONE_YET

        self.web.files[WHERE] = change
        self.successResultOf(self.fetch())
        self.assertEqual(b"new" * 1000, self.path.read_bytes())
        self.assertEqual([None, "bytes=3-"], self.ranges())

    def test_changed_in_parts(self) -> None:
        """A part of another version than it was asked for is not put behind what is there."""
        self.leave_part(b"abc", '"v0"')

        def go_on(request: Request) -> Any:
            self.web.files[WHERE] = Served(CONTENT)
            request.setResponseCode(206)
            request.setHeader("ETag", '"v1"')
            request.setHeader("Content-Range", "bytes 3-5/6")
            return b"xyz"

        self.web.files[WHERE] = go_on
        self.successResultOf(self.fetch())
        self.assertEqual(CONTENT, self.path.read_bytes())
        self.assertEqual(["bytes=3-", None], self.ranges())

    def test_look(self) -> None:
        """A whole file that is not what it should be is an error; one that an earlier start has begun is begun anew."""
        self.web.files[WHERE] = Served(CONTENT)
        seen: list[int] = []

        def look(path: Path) -> str | None:
            seen.append(path.stat().st_size)
            return None if path.read_bytes() == CONTENT else "is no picture"

        self.leave_part(b"abc", '"v1"')
        self.successResultOf(self.fetch(look=look))
        self.assertEqual(([len(CONTENT)] * 2, CONTENT), (seen, self.path.read_bytes()))
        self.path.unlink()
        self.web.files[WHERE] = Served(b"abc")
        self.assertEqual("dataset from http://data.test/d.sqlite3 is no picture", self.refused(look=look))

    def test_wrong_range(self) -> None:
        """A server that sends another part than it was asked for is asked for all of it."""

        def lie(request: Request) -> Any:
            self.web.files[WHERE] = Served(CONTENT)
            request.setResponseCode(206)
            request.setHeader("Content-Range", "bytes 7-9/10")
            return b"xyz"

        self.leave_part(b"abc", '"v1"')
        self.web.files[WHERE] = lie
        self.successResultOf(self.fetch())
        self.assertEqual(CONTENT, self.path.read_bytes())
        self.assertEqual(["bytes=3-", None], self.ranges())

    def leave_part(self, content: bytes, etag: str, url: str = URL) -> None:
        """Leave what an earlier start has got."""
        self.path.parent.mkdir(exist_ok=True)
        part = PartFile.take(self.path, url)
        assert part is not None
        part.restart(url, etag)
        part.write(content)
        part.keep()

    def test_next_start(self) -> None:
        """The part that a stopped start has left is continued, and checked as a whole."""
        self.leave_part(CONTENT[:5000], '"v1"')
        self.web.files[WHERE] = Served(CONTENT)
        self.successResultOf(self.fetch(sha256=hashlib.sha256(CONTENT).hexdigest().upper(), size=len(CONTENT)))
        self.assertEqual(CONTENT, self.path.read_bytes())
        self.assertEqual(["bytes=5000-"], self.ranges())
        self.assertEqual(["new/d.sqlite3"], self.there())

    def test_bad_part(self) -> None:
        """If what was left was bad, all is downloaded again before anything is said to be wrong."""
        self.leave_part(b"?" * 5000, '"v1"')
        self.web.files[WHERE] = Served(CONTENT)
        self.successResultOf(self.fetch(sha256=hashlib.sha256(CONTENT).hexdigest()))
        self.assertEqual(CONTENT, self.path.read_bytes())
        self.assertEqual(["bytes=5000-", None], self.ranges())

    def test_other_part(self) -> None:
        """What was left of a file from another address is not continued."""
        self.leave_part(b"?" * 5000, '"v1"', "http://other.test/d")
        self.web.files[WHERE] = Served(CONTENT)
        self.successResultOf(self.fetch())
        self.assertEqual([None], self.ranges())
        self.assertEqual(CONTENT, self.path.read_bytes())

    def test_whole_part(self) -> None:
        """A part that is all of it already is asked for anew, as the server has no more of it."""
        self.leave_part(CONTENT, '"v1"')
        self.web.files[WHERE] = Served(CONTENT)
        self.successResultOf(self.fetch())
        self.assertEqual(["bytes=256000-", None], self.ranges())

    def test_cancelled(self) -> None:
        """One that is stopped hangs up and leaves its part to the next start, if the server has named its version."""
        for etag, left in (('"v1"', ["new/d.sqlite3.part", "new/d.sqlite3.part.etag"]), ("", [])):
            self.web.files[WHERE] = self.endless(etag)
            fetched = self.fetch(seconds=3)
            self.assertNoResult(fetched)
            fetched.cancel()
            self.failureResultOf(fetched, CancelledError)
            self.web.agent.flush()
            self.assertTrue(self.request._disconnected)
            self.assertEqual([], self.clock.getDelayedCalls())
            self.assertEqual(left, self.there())

    def endless(self, etag: str) -> Any:
        """Make what begins an answer and never ends it."""

        def begin(request: Request) -> Any:
            self.request = request
            request.setHeader("Content-Length", "5000")
            if etag:
                request.setHeader("ETag", etag)
            request.write(b"abc")
            return NOT_DONE_YET

        return begin

    def test_cancelled_early(self) -> None:
        """One that is stopped before there is an answer, or while it waits for the next try, leaves nothing."""
        self.web.files[WHERE] = silent
        for troubles in ([], [503]):
            self.web.troubles = troubles
            fetched = self.fetch(seconds=1)
            fetched.cancel()
            self.failureResultOf(fetched, CancelledError)
            self.assertEqual([], self.there())
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_silent(self) -> None:
        """A server that sends nothing for a minute, before its answer or within it, is asked again."""
        for first in (silent, self.endless('"v1"')):
            self.path.unlink(missing_ok=True)
            self.web.files[WHERE] = first
            fetched = self.fetch(seconds=59)
            self.assertNoResult(fetched)
            self.web.files[WHERE] = Served(CONTENT)
            self.pass_time(5, fetched)
            self.successResultOf(fetched)
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_trouble(self) -> None:
        """A server in trouble is asked again a few times, ever later, or when it says."""
        self.web.files[WHERE] = Served(CONTENT)
        self.web.troubles = [503, 429, 500, 502]
        self.successResultOf(self.fetch())
        self.assertEqual(15, self.clock.seconds())
        self.path.unlink()
        self.web.files[WHERE] = (503, {"Retry-After": "7"})
        fetched = self.fetch(seconds=6)
        self.web.files[WHERE] = Served(CONTENT)
        self.pass_time(3, fetched)
        self.successResultOf(fetched)
        self.assertEqual(22, self.clock.seconds())

    def test_lasting_trouble(self) -> None:
        """It is given up in the end, and nothing is left behind."""
        self.web.files[WHERE] = (503, {})
        self.assertEqual("http://data.test/d.sqlite3 answers with status 503, after 5 tries", self.refused())
        self.web.files[WHERE] = Served(CONTENT, cuts=[1000] * 9)
        self.assertIn("the connection was lost", self.refused())

    def test_progress_counts(self) -> None:
        """As long as each try brings a lot, there may be any number."""
        self.web.files[WHERE] = Served(b"x" * (1 << 23), cuts=[1 << 20] * 7)
        self.successResultOf(self.fetch())
        self.assertEqual(8, len(self.web.asked))

    def test_refused(self) -> None:
        """A file that is not to be had is an error that says why, and not a word of the page that the server shows."""
        for status, why in ((404, ": it is not there"), (401, ": it wants a token"), (418, "")):
            self.web.files[WHERE] = (status, {})
            self.assertEqual(f"http://data.test/d.sqlite3 answers with status {status}{why}", self.refused())
        self.failureResultOf(self.fetch(), Refused)

    def test_empty(self) -> None:
        """An empty file is an error."""
        self.web.files[WHERE] = Served(b"")
        self.assertEqual("dataset from http://data.test/d.sqlite3 is empty", self.refused())

    def test_checksum(self) -> None:
        """A file with another checksum is an error."""
        self.web.files[WHERE] = Served(CONTENT)
        self.assertIn("has not the SHA-256 " + "0" * 64, self.refused(sha256="0" * 64))
        self.assertEqual(1, len(self.web.asked))

    def test_size(self) -> None:
        """A file of another size is an error, whether the server tells its size or not."""
        self.web.files[WHERE] = Served(CONTENT)
        self.assertIn("has 256000 bytes, and should have 255999", self.refused(size=255999))
        self.web.files[WHERE] = Served(CONTENT, chunked=True)
        self.assertIn("sends more than the 255999 bytes", self.refused(size=255999))
        self.assertIn("has not 256001 bytes", self.refused(size=256001))

    def test_full_disk(self) -> None:
        """A disk without room is an error that says so."""
        self.web.files[WHERE] = Served(CONTENT)

        def write(*_: Any) -> None:
            raise OSError(28, os.strerror(28))

        self.patch(PartFile, "write", write)
        self.assertEqual(f"cannot write {self.path}: No space left on device", self.refused())

    def test_no_directory(self) -> None:
        """A place where nothing can be written is an error that says so."""
        self.path = Path("/proc/nothing/d.sqlite3")
        self.assertIn("cannot write /proc/nothing/d.sqlite3", self.refused())

    def test_other_process(self) -> None:
        """While another process downloads the same file one waits, and has what the other has got."""
        self.path.parent.mkdir()
        other = PartFile.take(self.path, URL)
        assert other is not None
        with capturedLogs() as events:
            fetched = self.fetch(seconds=3)
        self.assertNoResult(fetched)
        self.assertEqual(1, len(events))
        other.write(b"theirs")
        other.publish()
        self.pass_time(2, fetched)
        self.successResultOf(fetched)
        self.assertEqual(b"theirs", self.path.read_bytes())
        self.assertEqual(["new/d.sqlite3"], self.there())
        self.assertEqual([], self.web.asked)

    def test_other_process_gives_up(self) -> None:
        """If the other gives up, one does it oneself."""
        self.path.parent.mkdir()
        other = PartFile.take(self.path, URL)
        assert other is not None
        self.web.files[WHERE] = Served(CONTENT)
        fetched = self.fetch(seconds=3)
        other.write(b"part")
        other.discard()
        self.pass_time(2, fetched)
        self.successResultOf(fetched)
        self.assertEqual(CONTENT, self.path.read_bytes())
        self.assertEqual(["new/d.sqlite3"], self.there())
