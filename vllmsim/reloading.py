# -*- test-case-name: tests.test_reloading -*-
"""Reading the configuration again while the server runs: when it is asked to, and when the file is another.

A file that is replaced, rewritten or reached by other links, as those of Kubernetes' ConfigMaps are, is another when
its content is; it is read when it was the same at two looks, so that it is not read while it is being written.
"""

import os
import stat
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from vllmsim.config.loading import ConfigurationError, Loaded
from vllmsim.config.problems import Problem
from vllmsim.errors import InferenceError

_State: TypeAlias = tuple[int, int, int, int] | None
"""What tells without reading a file that it is another: device, inode, time and length; None where there is none."""


class Reloading(Service):
    """Reads the sources of the configuration again.

    :param path: the file's, or None if there is none.
    :param interval: seconds between two looks at the file; 0 to look never.
    :param read: reads all sources, in a thread.
    :param take: takes over what they say, or raises :class:`vllmsim.errors.InferenceError`.
    :param defer_to_thread: runs a function off the reactor.
    :param more: whether the sources name files that are read with them; without, only the file can be another.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        path: str | None,
        interval: float,
        read: Callable[[], Loaded],
        take: Callable[[Loaded, str], Awaitable[None]],
        clock: IReactorTime,
        defer_to_thread: Callable[..., Deferred[Any]],
        *,
        more: bool = False,
    ) -> None:
        self.path = path
        self._more = more
        self._interval = interval if path else 0.0
        self._read = read
        self._take = take
        self._in_thread = defer_to_thread
        self._turn = DeferredLock()
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._state: _State = None
        self._judged: object = ()
        self._seen = self._digest() if self._interval else b""

    def startService(self) -> None:
        """Begin to look at the file, if that is wanted."""
        super().startService()
        if self._interval:
            self._loop.start(self._interval, now=False).addErrback(
                lambda reason: self._log.failure("The configuration file is watched no more.", reason)
            )

    def stopService(self) -> None:
        """Look at it no more."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def reload(self, who: str) -> Deferred[bool]:
        """Read the configuration again. The log says what came of it.

        :param who: says in the log who wants it.
        :return: fires when that is done, with whether what was read holds now; it is not to be cancelled.
        """
        if self._turn.waiting:
            # Who is next will read the same.
            return succeed(True)
        return self._turn.run(lambda: Deferred.fromCoroutine(self._reload(who)))

    async def _reload(self, who: str) -> bool:
        if self.path is None and not self._more:
            self._log.info("{who}: there is no configuration file to read again.", who=who)
            return True
        try:
            loaded: Loaded = await self._in_thread(self._load)
            await self._take(loaded, who)
        except ConfigurationError as error:
            for problem in error.problems:
                self._log.error("The configuration stays as it is: {problem}", problem=problem)
        except InferenceError as error:
            self._log.error("The configuration{where} does not hold: {fault}", where=self._where, fault=error.message)
        else:
            self._log.info("The configuration{where} has been read again.", where=self._where)
            return True
        return False

    @property
    def _where(self) -> str:
        return f" in {self.path}" if self.path else ""

    def _load(self) -> Loaded:
        """Read the sources, and remember which file that was."""
        if self._interval:
            self._seen = self._digest()
        if self.path is not None and not _is_whole(self.path):
            raise ConfigurationError([Problem("--config", f"{self.path!r} can be read only once", "command line")])
        return self._read()

    async def _look(self) -> None:
        state, changed = await self._in_thread(self._examine)
        self._state = state
        if changed and self.running:
            await self.reload("The configuration file")

    def _examine(self) -> tuple[_State, bool]:
        """See whether the file is another, and has been since the last look."""
        assert self.path is not None
        state = _state(self.path)
        if state == self._judged or state != self._state:
            return state, False
        self._judged = state
        return state, self._digest() != self._seen

    def _digest(self) -> bytes:
        assert self.path is not None
        try:
            return sha256(Path(self.path).read_bytes()).digest() if _is_whole(self.path) else b""
        except OSError:
            return b""


def _is_whole(path: str) -> bool:
    """Tell whether a file can be read again and again. One that is not there is read too, to say that."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return True


def _state(path: str) -> _State:
    try:
        facts = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size
