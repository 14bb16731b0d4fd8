# -*- test-case-name: tests.kvcache.outside.test_redisstore -*-
"""Blocks in a Redis or Valkey server: for each a key without content, which is there or has run out.

Its name is ``namespace:kind:`` and the block's hash in bytes. The kind is made of all that servers must agree about to
share blocks: model, block size, and how blocks are hashed. A lookup asks for as many leading blocks
as there are, and has them stay for longer in the same breath: ``EXPIRE`` says whether the key is there. As it is a
script that asks, the answer is one number however long the prompt is. Scripts take some hundred blocks at a time, so
that neither server stands still for a long prompt: Redis serves others after a few of them.

Scripts make the names of their keys, which a cluster does not allow: the server is one that stands alone, or the first
of some that follow it.
"""

import re
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vllmsim.config.backends import Backend
from vllmsim.interfaces import IBlockStore, IBlockStoreMetrics
from vllmsim.kvcache.outside.redislink import RedisLink, Trouble, Words

_LOOKUP: Final = """
local size, found = tonumber(ARGV[3]), 0
for at = 1, #ARGV[4], size do
  if redis.call('EXPIRE', ARGV[1] .. string.sub(ARGV[4], at, at + size - 1), ARGV[2]) == 0 then break end
  found = found + 1
end
return found
"""
_STORE: Final = """
local size = tonumber(ARGV[3])
for at = 1, #ARGV[4], size do
  redis.call('SET', ARGV[1] .. string.sub(ARGV[4], at, at + size - 1), '', 'EX', ARGV[2])
end
return 1
"""
_CLEAR: Final = """
local page = redis.call('SCAN', ARGV[2], 'MATCH', ARGV[1], 'COUNT', ARGV[3])
if #page[2] > 0 then redis.call('UNLINK', unpack(page[2])) end
return page[1]
"""
_CHUNK: Final = 256
"""Blocks that a script takes, which a server goes through in a third of a millisecond."""
_WINDOW: Final = 8
"""Scripts that are sent together, each waiting for those before it."""
_GATHERING: Final = 0.005
"""Seconds that writes wait for others, since streams fill their blocks one by one."""
_MOST_UNANSWERED: Final = 4
_MOST_PENDING: Final = 65536
_PATIENCE: Final = 5.0
"""Seconds that what nobody waits for may take."""
_REST: Final = 1.0
"""Seconds in which nothing is written after a write was refused."""
_CALM: Final = 60.0
"""Seconds without a refusal after which it is news that a write was not: a full server has room now and then."""
_SCAN_COUNT: Final = 500
_MOST_SHOWN: Final = 200


def endpoint_of(backend: Backend, reactor: Any) -> IStreamClientEndpoint:
    """Make what connects to a server. Over TLS its certificate must be one that the system trusts."""
    if backend.path:
        return UNIXClientEndpoint(reactor, backend.path)
    plain = HostnameEndpoint(reactor, backend.host, backend.port)
    if not backend.tls:
        return plain
    # It takes some milliseconds, which a plain connection can do without.
    from twisted.internet.ssl import optionsForClientTLS  # noqa: PLC0415

    return wrapClientTLS(optionsForClientTLS(backend.host), plain)


def key_prefix(namespace: str, *kind: str | int) -> bytes:
    """Make what the names of keys begin with.

    :param kind: what servers must agree about to share blocks.
    """
    digest = blake2b(digest_size=8)
    for each in kind:
        data = str(each).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return f"{namespace}:{digest.hexdigest()}:".encode("utf-8", "surrogatepass")


def _whole_seconds(seconds: float) -> int:
    return max(1, round(seconds))


@implementer(IBlockStore)
@define(eq=False)
class RedisStore:
    """Keeps blocks in a server, and finds them there.

    :param prefix: what the names of keys begin with.
    :param lifetime: seconds that a block stays when nobody asks for it; whole ones count, and at least one.
    :param timeout: seconds that a lookup may take.
    """

    _log: ClassVar[Logger] = Logger()

    _link: RedisLink
    _prefix: bytes
    _lifetime: int = field(converter=_whole_seconds)
    _timeout: float
    _clock: IReactorTime
    _metrics: IBlockStoreMetrics
    _pending: deque[Sequence[bytes]] = field(init=False, factory=deque)
    _waiting: int = field(init=False, default=0)
    """How many blocks are pending."""
    _taken: int = field(init=False, default=0)
    """How many of the first of these sequences are not any more."""
    _unanswered: int = field(init=False, default=0)
    _turn: IDelayedCall | None = field(init=False, default=None)
    _refused_at: float | None = field(init=False, default=None)

    def start(self) -> None:
        """Begin to connect."""
        # A lookup shows that the server lets us do all that lookups do.
        self._link.start(self._script(_LOOKUP, [b"\0"]), self._timeout, self._pass_over_pending)

    def stop(self) -> Deferred[None]:
        """Disconnect; what is not on its way yet is left."""
        self._forget_pending()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        return Deferred.fromCoroutine(self._link.stop())

    async def lookup(self, hashes: Sequence[bytes]) -> int | None:
        """Count the leading blocks that are there; see :class:`vllmsim.interfaces.IBlockStore`."""
        if not self._link.up:
            return None
        begun = self._clock.seconds()
        found, left = 0, self._timeout
        while left > 0 and found < len(hashes):
            window = hashes[found : found + _CHUNK * _WINDOW]
            try:
                there = await self._look(window, left)
            except Trouble as trouble:
                if found:
                    # It was asked late, so that it is not the server's fault when time runs out.
                    return found
                self._link.end(trouble)
                return None
            found += there
            spent = self._clock.seconds() - begun
            left = self._timeout - spent
            if there < len(window) or found == len(hashes):
                self._metrics.store_answered(spent)
                break
        return found

    async def _look(self, hashes: Sequence[bytes], patience: float) -> int:
        chunks = [hashes[at : at + _CHUNK] for at in range(0, len(hashes), _CHUNK)]
        answers = [self._link.ask(*self._script(_LOOKUP, chunk), timeout=patience) for chunk in chunks]
        found = 0
        try:
            for chunk, answer in zip(chunks, answers, strict=True):
                there = await answer
                if not isinstance(there, int) or not 0 <= there <= len(chunk):
                    raise Trouble("refused", f"no number of {len(chunk)} blocks is {there!r}"[:_MOST_SHOWN])
                found += there
                if there < len(chunk):
                    break
        finally:
            for answer in answers:
                answer.addErrback(lambda _: None)
                answer.cancel()
        return found

    def store(self, hashes: Sequence[bytes]) -> None:
        """Write blocks, together with all others of some milliseconds."""
        room = _MOST_PENDING - self._waiting if self._link.up else 0
        if room < len(hashes):
            self._metrics.store_passed_over(len(hashes) - room)
            hashes = hashes[:room]
        if not hashes:
            return
        self._pending.append(hashes)
        self._waiting += len(hashes)
        if self._turn is None:
            self._turn = self._clock.callLater(_GATHERING, self._write)

    def _write(self) -> None:
        self._turn = None
        if self._refused_at is not None and self._clock.seconds() - self._refused_at < _REST:
            self._pass_over_pending()
        while self._pending and self._unanswered < _MOST_UNANSWERED:
            chunk = self._take()
            self._unanswered += 1
            answer = self._link.ask(*self._script(_STORE, chunk), timeout=_PATIENCE)
            answer.addCallbacks(self._written, self._not_written, errbackArgs=(len(chunk),))
            answer.addErrback(lambda failure: self._log.failure("While writing blocks", failure))

    def _take(self) -> Sequence[bytes]:
        """Take what fits in one script."""
        chunk: list[bytes] = []
        while self._pending and len(chunk) < _CHUNK:
            hashes, stop = self._pending[0], self._taken + _CHUNK - len(chunk)
            chunk += hashes[self._taken : stop]
            if stop < len(hashes):
                self._taken = stop
            else:
                self._pending.popleft()
                self._taken = 0
        self._waiting -= len(chunk)
        return chunk

    def _written(self, _: Any) -> None:
        self._unanswered -= 1
        if self._refused_at is not None and self._clock.seconds() - self._refused_at > _CALM:
            self._refused_at = None
            self._log.info("The cache that servers share takes blocks again.")
        if self._turn is None:
            self._write()

    def _not_written(self, failure: Failure, blocks: int) -> None:
        self._unanswered -= 1
        self._metrics.store_passed_over(blocks)
        trouble = failure.value
        assert isinstance(trouble, Trouble)
        if trouble.reason != "refused":
            self._link.end(trouble)
            return
        self._metrics.store_failed("full" if str(trouble).startswith("OOM") else "refused")
        if self._refused_at is None:
            self._log.warn("The cache that servers share takes no blocks: {trouble}", trouble=trouble)
        self._refused_at = self._clock.seconds()
        self._pass_over_pending()

    def clear(self) -> Deferred[bool]:
        """Delete every block, some hundred at a time."""
        self._forget_pending()
        return Deferred.fromCoroutine(self._clear())

    async def _clear(self) -> bool:
        pattern, cursor = re.sub(rb"([\\*?\[\]^-])", rb"\\\1", self._prefix) + b"*", b"0"
        while True:
            try:
                cursor = await self._link.ask("EVAL", _CLEAR, 0, pattern, cursor, _SCAN_COUNT, timeout=_PATIENCE)
            except Trouble as trouble:
                self._log.warn("The cache that servers share is not cleared: {trouble}", trouble=trouble)
                return False
            if cursor == b"0":
                return True

    def _script(self, script: str, hashes: Sequence[bytes]) -> Words:
        return "EVAL", script, 0, self._prefix, self._lifetime, len(hashes[0]), b"".join(hashes)

    def _forget_pending(self) -> None:
        self._pending.clear()
        self._waiting = self._taken = 0

    def _pass_over_pending(self) -> None:
        if self._waiting:
            self._metrics.store_passed_over(self._waiting)
        self._forget_pending()
