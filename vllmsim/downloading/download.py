# -*- test-case-name: tests.downloading.test_download -*-
"""Downloads a file, so that it is there whole and checked, or not at all.

An interrupted transfer is continued: ``Range`` asks for the rest, and ``If-Range`` with the entity tag makes a server
whose file has changed send it all. A server that knows no ranges does the same. Nothing is left behind by a download
that fails; one that is cancelled leaves the part that it has if the server has told how to continue it.
"""

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from vllmsim.downloading.partfile import Busy, PartFile
from vllmsim.downloading.progress import Progress, describe_bytes
from vllmsim.downloading.web import (
    Answer,
    DownloadError,
    PassingTrouble,
    Patience,
    Refused,
    Remote,
    WebClient,
    describe,
    hang_up,
)

_OK: Final = 200
_PARTIAL: Final = 206
_NO_SUCH_RANGE: Final = 416
_IDLE_TIMEOUT: Final = 60.0
_LOCK_INTERVAL: Final = 0.5
_WORTHWHILE: Final = 1 << 20
"""Bytes that a try must bring for the number of tries to be counted anew."""
_STATUSES: Final = {401: "it wants a token", 403: "it is forbidden", 404: "it is not there", 410: "it is gone"}


@frozen
class Wanted:
    """A file that is to be downloaded.

    :param name: how the log calls it.
    :param sha256: the hash that its bytes must have, in hexadecimal; empty if that is not known.
    :param size: how many bytes it must have, if that is known.
    :param look: looks at the whole file, off the reactor, and tells what is wrong with it, as in "is no picture".
    """

    remote: Remote
    name: str
    sha256: str = ""
    size: int | None = None
    look: Callable[[Path], str | None] | None = None


class _Body(Protocol):
    """Writes a response's body to a file, and gives up when nothing comes for a while.

    :param write: takes bytes.
    :param finished: fires at the end; cancelled, it hangs up.
    """

    def __init__(self, clock: IReactorTime, write: Callable[[bytes], object]) -> None:
        self._clock = clock
        self._write = write
        self._error: BaseException | None = None
        self._idle: IDelayedCall = clock.callLater(_IDLE_TIMEOUT, self._give_up)
        self.finished: Deferred[None] = Deferred(lambda _: self._end(CancelledError()))

    def dataReceived(self, data: bytes) -> None:
        if self._error is not None:
            return
        self._idle.reset(_IDLE_TIMEOUT)
        try:
            self._write(data)
        except (OSError, DownloadError) as error:
            self._end(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Without a length the end of the connection is the end of the body.
        whole = reason.check(ResponseDone, PotentialDataLoss)
        self._end(None if whole else PassingTrouble(f"the connection was lost: {describe(reason.value)}"))

    def _give_up(self) -> None:
        self._end(PassingTrouble(f"nothing came for {_IDLE_TIMEOUT:g} s"))

    def _end(self, error: BaseException | None) -> None:
        if self._error is not None or self.finished.called:
            return
        self._error = error
        if self._idle.active():
            self._idle.cancel()
        if error is None:
            self.finished.callback(None)
        else:
            hang_up(self)
            self.finished.errback(error)


@define(eq=False)
class Downloader:
    """Downloads files.

    :param defer_to_thread: runs a function off the reactor.
    """

    _log: ClassVar[Logger] = Logger()

    web: WebClient
    _defer_to_thread: Callable[..., Deferred[Any]]

    async def fetch(self, wanted: Wanted, path: Path) -> None:
        """Have a file at a path, downloading it unless it is there. The directory is made if need be.

        :raises DownloadError: when the file cannot be had; nothing of it is left behind then.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = await self._take(wanted, path)
            if part is not None:
                await self._fill_and_publish(wanted, part)
        except OSError as error:
            raise DownloadError(f"cannot write {path}: {error.strerror or error}") from error

    async def _take(self, wanted: Wanted, path: Path) -> PartFile | None:
        """Wait until no other process writes the file."""
        told = False
        while True:
            try:
                return PartFile.take(path, wanted.remote.url)
            except Busy:
                if not told:
                    self._log.info("Another process downloads {name}; waiting for it.", name=wanted.name)
                told = True
                await deferLater(self.web.clock, _LOCK_INTERVAL)

    async def _fill_and_publish(self, wanted: Wanted, part: PartFile) -> None:
        try:
            await self._fill(wanted, part)
            await self._defer_to_thread(part.sync)
            part.publish()
        except CancelledError:
            part.keep()
            raise
        except BaseException:
            part.discard()
            raise
        self._log.info("{name} is at {path}: {size}.", name=wanted.name, path=part.path, size=describe_bytes(part.size))

    async def _fill(self, wanted: Wanted, part: PartFile) -> None:
        inherited = part.size > 0
        await self._transfer(wanted, part)
        fault = await self._fault(wanted, part)
        if inherited and fault:
            # What an earlier start has left may be to blame.
            self._log.warn("{name} is not what it should be; beginning anew.", name=wanted.name)
            part.restart(wanted.remote.url, "")
            await self._transfer(wanted, part)
            fault = await self._fault(wanted, part)
        if fault:
            raise DownloadError(f"{wanted.name} from {wanted.remote} {fault}")

    async def _fault(self, wanted: Wanted, part: PartFile) -> str | None:
        """Find out what is wrong with a whole file, if anything is."""
        if not part.size:
            return "is empty"
        if wanted.size not in {None, part.size}:
            return f"has not {wanted.size} bytes"
        if wanted.sha256:
            digest = hashlib.sha256()
            await self._defer_to_thread(part.read_into, digest.update)
            if digest.hexdigest() != wanted.sha256.lower():
                return f"has not the SHA-256 {wanted.sha256}"
        fault: str | None = None
        if wanted.look is not None:
            fault = await self._defer_to_thread(part.show, wanted.look)
        return fault

    async def _transfer(self, wanted: Wanted, part: PartFile) -> None:
        patience = Patience(self.web.clock)
        farthest = part.size

        async def attempt() -> None:
            nonlocal farthest
            try:
                await self._attempt(wanted, part)
            finally:
                if part.size >= farthest + _WORTHWHILE:
                    farthest = part.size
                    patience.renew()

        await patience.insist(attempt)

    async def _attempt(self, wanted: Wanted, part: PartFile) -> None:
        if not part.etag:
            part.restart(wanted.remote.url, "")
        rest = {"Range": f"bytes={part.size}-", "If-Range": part.etag} if part.size else {}
        verb = "Continuing" if rest else "Downloading"
        self._log.info("{verb} {name} from {remote}.", verb=verb, name=wanted.name, remote=wanted.remote)
        answer = await self.web.request("GET", wanted.remote, rest)
        try:
            total = self._begin(wanted, part, answer)
        except BaseException:
            answer.drop()
            raise
        progress = Progress(self.web.clock, wanted.name, part.size, total)
        most = wanted.size if total is None else total
        body = _Body(self.web.clock, partial(self._write, wanted, part, progress, most))
        answer.response.deliverBody(body)
        await body.finished
        if total is not None and part.size != total:
            raise PassingTrouble(f"{wanted.name} ended after {part.size} of {total} bytes")

    def _write(self, wanted: Wanted, part: PartFile, progress: Progress, total: int | None, data: bytes) -> None:
        if total is not None and part.size + len(data) > total:
            raise DownloadError(f"{wanted.remote} sends more than the {total} bytes that it should have")
        part.write(data)
        progress.advance(len(data))

    def _begin(self, wanted: Wanted, part: PartFile, answer: Answer) -> int | None:
        """Find out what a server sends, and make the part ready for it.

        :return: how many bytes the whole file has, if that is known.
        """
        status, length = answer.response.code, answer.response.length
        known = None if length == UNKNOWN_LENGTH else int(length)
        if status == _PARTIAL:
            said = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.header("Content-Range") or "")
            if said is None or int(said[1]) != part.size:
                part.restart(wanted.remote.url, "")
                raise PassingTrouble(f"{wanted.remote} sent another part of the file than it was asked for", 0)
            if answer.header("ETag") not in {None, part.etag}:
                part.restart(wanted.remote.url, "")
                raise PassingTrouble(f"{wanted.remote} has another file by now", 0)
            total = int(said[2]) if said[2] != "*" else None if known is None else part.size + known
        elif status == _OK:
            etag = answer.header("ETag") or ""
            # A weak tag stands for bytes that may differ; without a length nobody knows what is missing.
            strong = etag.startswith('"') and known is not None
            part.restart(wanted.remote.url, etag if strong else "")
            total = known
        elif status == _NO_SUCH_RANGE and part.size:
            part.restart(wanted.remote.url, "")
            raise PassingTrouble(f"{wanted.remote} has not the rest of the file", 0)
        else:
            why = f": {_STATUSES[status]}" if status in _STATUSES else ""
            message = f"{wanted.remote} answers with status {status}{why}"
            raise Refused(message, status, answer.response.headers)
        if total is not None and wanted.size is not None and total != wanted.size:
            raise DownloadError(f"{wanted.remote} has {total} bytes, and should have {wanted.size}")
        return total
