"""Servers of files in memory: whatever host is asked, this answers."""

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from attrs import define, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tests.fakes import in_thread
from vllmsim.downloading.download import Downloader
from vllmsim.downloading.web import WebClient, plain_client


def hang_up(request: Request) -> None:
    """Break the connection of a request, after what is written to it."""
    assert request.transport is not None
    request.transport.loseConnection()


@define(eq=False)
class Served:
    """One file of a server.

    :param content: its bytes.
    :param etag: sent with it, if there is one.
    :param ranges: whether parts of it can be had.
    :param headers: what else is sent with it.
    :param cuts: for each request in turn, after how many bytes of the answer the connection breaks.
    :param chunked: send no length.
    """

    content: bytes
    etag: str = '"v1"'
    ranges: bool = True
    headers: dict[str, str] = field(factory=dict)
    cuts: list[int] = field(factory=list)
    chunked: bool = False


class FakeWeb(Resource):
    """Answers for every host.

    :ivar files: by host and path, what is there: a file, the status of an error with its headers, or a function that
        does what it likes with the request.
    :ivar asked: method, host with path, and headers of each request.
    :ivar hosts: open requests, of which more is sent by hand.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Served | tuple[int, dict[str, str]] | Callable[[Request], Any]] = {}
        self.troubles: list[int] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.agent = RequestTraversalAgent(self)

    def render(self, request: Request) -> Any:
        """Answer."""
        where = f"{request.getHeader('host')}{request.path.decode()}"
        headers = {
            name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.asked.append((request.method.decode(), where, headers))
        there = self.files.get(where, (404, {}))
        if self.troubles:
            there = (self.troubles.pop(0), {})
        if isinstance(there, tuple):
            request.setResponseCode(there[0])
            for name, value in there[1].items():
                request.setHeader(name, value)
            return b"" if there[0] < 400 else b"<p>an error page"
        if not isinstance(there, Served):
            return there(request)
        return self._send(there, request, headers)

    def _send(self, file: Served, request: Request, headers: dict[str, str]) -> Any:
        content, start = file.content, 0
        for name, value in file.headers.items():
            request.setHeader(name, value)
        if file.etag:
            request.setHeader("ETag", file.etag)
        if file.ranges and "range" in headers and headers.get("if-range") == file.etag:
            start = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                request.setResponseCode(416)
                return b""
            request.setResponseCode(206)
            request.setHeader("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        rest = content[start:]
        if not file.chunked:
            request.setHeader("Content-Length", str(len(rest)))
        if request.method == b"HEAD":
            return b""
        if file.cuts:
            cut = file.cuts.pop(0)
            if cut < len(rest):
                request.write(rest[:cut])
                hang_up(request)
                return NOT_DONE_YET
        request.write(rest)
        request.finish()
        return NOT_DONE_YET


def new_directory(test: SynchronousTestCase) -> Path:
    """Make a directory that is removed after a test."""
    directory = mkdtemp()
    test.addCleanup(rmtree, directory)
    return Path(directory)


class WebTestCase(SynchronousTestCase):
    """Tests with a web in memory, a clock, and a directory of their own."""

    def setUp(self) -> None:
        """Make them."""
        self.web = FakeWeb()
        self.clock = Clock()
        self.client = WebClient(self.clock, plain_client(self.web.agent))
        self.downloader = Downloader(self.client, in_thread)
        self.directory = new_directory(self)

    def run_to_end(self, work: Any, seconds: float = 100.0) -> Deferred[Any]:
        """Start a coroutine, and let bytes and time pass."""
        done: Deferred[Any] = Deferred.fromCoroutine(work)
        self.pass_time(seconds, done)
        return done

    def pass_time(self, seconds: float, done: Deferred[Any]) -> None:
        """Let bytes and time pass until something is done."""
        for _ in range(int(seconds)):
            for _ in range(20):
                self.web.agent.flush()
            if done.called:
                break
            self.clock.advance(1)

    def there(self) -> list[str]:
        """List the files of the directory."""
        return sorted(str(each.relative_to(self.directory)) for each in self.directory.rglob("*") if not each.is_dir())
