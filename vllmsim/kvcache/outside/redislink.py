# -*- test-case-name: tests.kvcache.outside.test_redislink -*-
"""A connection to a Redis or Valkey server that is made again whenever it is lost.

Redis answers the commands of a connection in their order; a command that it never answers would hold up all that come
behind it. So the first that takes too long ends the connection, and so does any other trouble: there is one way to be
in trouble, which is to have no connection, and one way out of it. Pauses before new ones grow from a tenth of a second
to five.

The log has a line when the server goes and one when it is back, however often it is tried in between; there is one more
when it turns out that it is there, and does not want us.

txredisapi reads and writes the protocol. Its own factories log every try, and give up when a password is wrong.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeAlias

import txredisapi
from attrs import define, field
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.config.backends import Backend
from vllmsim.interfaces import IBlockStoreMetrics

_PATIENCE: Final = 5.0
"""Seconds that what nobody waits for may take: to connect, and to show that the other side is there."""
_FIRST_PAUSE: Final = 0.1
_MOST_PAUSE: Final = 5.0
_STEADY: Final = 30.0
"""Seconds after which a connection was a good one, so that the next pause is short again."""
_HEARTBEAT: Final = 30.0
"""Seconds between two looks at a connection: so that it is known when the other side has gone without a word, and so
that nobody in between takes it for an idle one."""
_MOST_SHOWN: Final = 200
Word: TypeAlias = bytes | int | str
Words: TypeAlias = tuple[Word, ...]
_STARTING: Final = ("LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN")
"""What servers say who will soon do what they are asked to."""


class Trouble(Exception):
    """Why there is no answer; its text says it in words.

    :param reason: ``connection``, ``timeout`` or ``refused``, as :class:`vllmsim.interfaces.IBlockStoreMetrics` has it.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def trouble_of(failure: Failure) -> Trouble:
    """Tell what a command, or a connection, has failed with."""
    error = failure.value
    if isinstance(error, Trouble):
        return error
    text = (str(error) or type(error).__name__)[:_MOST_SHOWN]
    if isinstance(error, txredisapi.ResponseError):
        return Trouble("connection" if text.startswith(_STARTING) else "refused", text)
    return Trouble("connection", text)


class _Protocol(txredisapi.RedisProtocol):  # type: ignore[misc]
    """One connection.

    `ended` fires with the trouble that ends it, when that is known: the connection may be there a little longer.
    `gone` fires when it is not.
    """

    def __init__(self) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.ended: Deferred[Trouble] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:  # noqa: FBT002 - it is not ours
        try:
            super().dataReceived(data, unpause)
        except Exception as error:  # noqa: BLE001 - whatever its parser finds in what no Redis would say
            self.end(Trouble("connection", f"this is no Redis: {error}"[:_MOST_SHOWN]))

    def connectionLost(self, why: Failure) -> None:
        if not self.ended.called:
            self.ended.callback(trouble_of(why))
        super().connectionLost(why)
        self.gone.callback(None)

    def end(self, trouble: Trouble) -> None:
        """Close it at once."""
        if not self.ended.called:
            self.ended.callback(trouble)
            self.transport.abortConnection()


class _Factory(Factory):
    protocol = _Protocol
    # Each try would be two lines in the log.
    noisy = False


@define(eq=False)
class _Wait:
    """Waits for an answer, no longer than a time."""

    _answer: Deferred[Any]
    _clock: IReactorTime
    _timeout: float
    _timer: IDelayedCall | None = field(init=False, default=None)
    _late: bool = field(init=False, default=False)

    def settled(self) -> Deferred[Any]:
        """Tell what becomes of it; the errback is a :class:`Trouble`."""
        self._timer = self._clock.callLater(self._timeout, self._look_once_more)
        return self._answer.addBoth(self._settle)

    def _look_once_more(self) -> None:
        # If it was us who were busy, the answer is there to be read, which timers come before.
        self._timer = self._clock.callLater(0, self._end)

    def _end(self) -> None:
        self._late = True
        self._answer.cancel()

    def _settle(self, result: Any) -> Any:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._late:
            raise Trouble("timeout", f"no answer in {self._timeout:g} s")
        if isinstance(result, Failure) and not result.check(CancelledError):
            raise trouble_of(result)
        return result


@define(eq=False)
class RedisLink:
    """Keeps a connection.

    :param backend: where to, and who to be there.
    :param jitter: draws from 0 to 1, so that servers do not come back all at the same time.
    """

    _log: ClassVar[Logger] = Logger()

    _backend: Backend
    _endpoint: IStreamClientEndpoint
    _clock: IReactorTime
    _metrics: IBlockStoreMetrics
    _jitter: Callable[[], float]
    _probe: Words = field(init=False, default=("PING",))
    _timeout: float = field(init=False, default=_PATIENCE)
    _lost: Callable[[], object] = field(init=False, default=lambda: None)
    _protocol: _Protocol | None = field(init=False, default=None)
    _newest: _Protocol | None = field(init=False, default=None)
    _kept: Deferred[None] | None = field(init=False, default=None)
    _beat: IDelayedCall | None = field(init=False, default=None)
    _told: str | None = field(init=False, default=None)
    _stopped: bool = field(init=False, default=False)

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._protocol is not None

    def start(self, probe: Words, timeout: float, lost: Callable[[], object]) -> None:
        """Begin to connect.

        :param probe: a command that must be answered before anything else is asked.
        :param timeout: seconds that it may take.
        :param lost: is called when there is no connection any more.
        """
        self._probe, self._timeout, self._lost = probe, timeout, lost
        self._kept = Deferred.fromCoroutine(self._keep())
        self._kept.addErrback(lambda failure: failure.trap(CancelledError))

    async def stop(self) -> None:
        """Disconnect, and wait until that is done."""
        self._stopped = True
        if self._kept is not None:
            self._kept.cancel()
        if self._newest is not None:
            await self._newest.gone

    def ask(self, *words: Word, timeout: float) -> Deferred[Any]:
        """Send a command.

        :param timeout: seconds that the answer may take.
        :return: fires with what the server says; its errback is a :class:`Trouble`.
        """
        protocol = self._protocol
        return (
            fail(Trouble("connection", "not connected")) if protocol is None else self._send(protocol, words, timeout)
        )

    def end(self, trouble: Trouble) -> None:
        """Have no connection for a while: the next one may be better."""
        if self._protocol is not None:
            self._protocol.end(trouble)

    def _send(self, protocol: _Protocol, words: Words, timeout: float) -> Deferred[Any]:
        return _Wait(maybeDeferred(protocol.execute_command, *words), self._clock, timeout).settled()

    async def _keep(self) -> None:
        pause = backoffPolicy(_FIRST_PAUSE, _MOST_PAUSE, 2.0, lambda: self._jitter() * _FIRST_PAUSE)
        tries = 0
        while True:
            begun = self._clock.seconds()
            trouble = await self._live()
            if self._stopped:
                return
            if self._clock.seconds() - begun > _STEADY:
                tries = 0
            self._tell(trouble)
            await deferLater(self._clock, pause(tries))
            tries += 1

    async def _live(self) -> Trouble:
        """Connect, and wait until the connection ends.

        :return: why it has.
        """
        connecting = self._endpoint.connect(_Factory())
        try:
            protocol = await connecting.addTimeout(_PATIENCE, self._clock)
        except (DeferredTimeoutError, CancelledError, ConnectingCancelledError):
            return Trouble("timeout", f"no connection in {_PATIENCE:g} s")
        except Exception:  # noqa: BLE001 - endpoints fail with anything
            return trouble_of(Failure())
        assert isinstance(protocol, _Protocol)
        self._newest = protocol
        protocol.ended.addCallback(self._leave)
        try:
            await self._greet(protocol)
        except Trouble as trouble:
            # A connection that is lost knows better why than the command that it was lost under.
            protocol.end(trouble)
        except CancelledError:
            protocol.end(Trouble("connection", "stopped"))
            raise
        else:
            self._enter(protocol)
        try:
            return await protocol.ended
        except CancelledError:
            self._leave(Trouble("connection", "stopped"))
            protocol.transport.abortConnection()
            raise

    async def _greet(self, protocol: _Protocol) -> None:
        backend = self._backend
        if backend.user or backend.password:
            user = (backend.user,) if backend.user else ()
            await self._send(protocol, ("AUTH", *user, backend.password or ""), _PATIENCE)
        if backend.database:
            await self._send(protocol, ("SELECT", backend.database), _PATIENCE)
        await self._send(protocol, self._probe, self._timeout)

    def _enter(self, protocol: _Protocol) -> None:
        self._protocol, self._told = protocol, None
        self._metrics.store_changed(True)
        self._log.info("Sharing KV blocks through {backend}.", backend=self._backend)
        self._beat = self._clock.callLater(_HEARTBEAT, self._look)

    def _look(self) -> None:
        self._beat = self._clock.callLater(_HEARTBEAT, self._look)
        self.ask("PING", timeout=_PATIENCE).addErrback(lambda failure: self.end(trouble_of(failure)))

    def _leave(self, trouble: Trouble) -> Trouble:
        if self._protocol is not None and self._beat is not None:
            self._protocol = None
            self._beat.cancel()
            self._metrics.store_changed(False)
            self._lost()
        return trouble

    def _tell(self, trouble: Trouble) -> None:
        self._metrics.store_failed(trouble.reason)
        if self._told is None or (trouble.reason == "refused" and self._told != "refused"):
            self._told = trouble.reason
            text = "Sharing no KV blocks until {backend} can be used; the server goes on with its own cache: {trouble}"
            self._log.warn(text, backend=self._backend, trouble=trouble)
