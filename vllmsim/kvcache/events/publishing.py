# -*- test-case-name: tests.kvcache.events.test_publishing -*-
"""Publishes batches of KV events at a ZeroMQ PUB socket. Imported when there is one: it needs a reactor.

A message has three frames: the topic, the batch's number as eight bytes, and the batch. Who subscribes late begins
with the next; who is slow may have `hwm` messages wait for it in this process, or fewer if they are large, and loses
what comes then. So does one
that is gone without a word, until its connection breaks; and one that we connect to also while it is away: what waits
for it then leaves when it is back.

ZeroMQ drops messages in silence, and what is dropped is to be counted. So the socket is told to refuse a message when
somebody's queue is full. If nobody else is there, the message is dropped and counted: the next is refused too, for as
long as it takes. If there are others, the message is sent again as one that may be dropped. ZeroMQ then leaves out
whose queue was full until half of it is read, and refuses nothing for its sake. All the while the kernel takes nothing
more for its connection: that is how we know that events are lost, and a monitor tells which connections there are.
"""

import math
import select
from collections.abc import Callable
from contextlib import suppress
from struct import unpack
from typing import Any, ClassVar, Final

import zmq
from attrs import define, field
from twisted.logger import Logger
from txzmq import ZmqConnection, ZmqEndpoint, ZmqEndpointType, ZmqFactory, ZmqPubConnection
from zope.interface import implementer

from vllmsim.config.events import EventSettings, binds, is_found
from vllmsim.interfaces import IBlockEventPublisher, ICacheMetrics
from vllmsim.kvcache.events.allowance import Allowance

_LONGEST_SUBSCRIPTION: Final = 1 << 10
"""Bytes of the longest message that a subscriber may send: to remember a topic takes ZeroMQ fifty times its length."""
_CONNECT_TIMEOUT: Final = 5000
"""Milliseconds that an attempt to connect may take."""
_MOST_BYTES: Final = 64 << 20
"""How large all messages together may be that wait for a subscriber."""
_GIVEN_UP: Final = 1.0
"""Seconds after which nothing is left of a connection that was lost."""
_CALM: Final = 10
"""After so many messages in a row that the kernel takes for everyone nobody is left out any more."""
_MONITORED: Final = (
    zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_CONNECT_RETRIED
)


class _Monitor(ZmqConnection):  # type: ignore[misc]
    """Hears what happens to the connections of a socket."""

    socketType = zmq.PAIR

    def __init__(self, factory: ZmqFactory, socket: Any, heard: Callable[[int, int], None]) -> None:
        self._heard = heard
        self._watched = socket
        address = f"inproc://monitor-{id(socket)}"
        socket.monitor(address, _MONITORED)
        super().__init__(factory, ZmqEndpoint(ZmqEndpointType.connect, address))

    def messageReceived(self, message: list[bytes]) -> None:
        """Tell a kind of event, and its value."""
        self._heard(*unpack("=HI", message[0]))

    def shutdown(self) -> None:
        """Listen no more."""
        self._watched.disable_monitor()
        super().shutdown()


class _Connection(ZmqPubConnection):  # type: ignore[misc]
    reconnectIntervalMax = 1000

    def __init__(self, factory: ZmqFactory, hwm: int) -> None:
        self.highWaterMark = hwm
        super().__init__(factory)


@implementer(IBlockEventPublisher)
@define(eq=False)
class SocketPublisher:
    """Publishes at one socket. It is made when it is bound or begins to connect.

    :raises OSError: when it cannot be bound; ``filename`` is the endpoint.
    """

    _log: ClassVar[Logger] = Logger()

    _factory: ZmqFactory
    _settings: EventSettings
    _metrics: ICacheMetrics
    _topic: bytes = field(init=False)
    _bound: bool = field(init=False)
    _connection: Any = field(init=False)
    _monitor: _Monitor = field(init=False)
    _subscribers: set[int] = field(init=False, factory=set)
    """The file descriptors of those who connected to us."""
    _allowance: Allowance = field(init=False)
    _room: int = field(init=False)
    """The high-water mark that all connections have; 0 while that is not sure. New ones begin with the usual one."""
    _left: float = field(init=False, default=-math.inf)
    """When a connection was last lost."""
    _watched: int = field(init=False, default=0)
    """For how many messages more to look whether somebody is left out."""
    _warned: bool = field(init=False, default=False)
    _failed: bool = field(init=False, default=False)
    _attempts: int | None = field(init=False, default=0)
    """How often connecting has failed; None when it counts no more."""

    def __attrs_post_init__(self) -> None:
        endpoint = self._settings.endpoint
        topic = self._settings.topic
        self._topic = topic.encode(errors="replace")
        self._bound = binds(endpoint)
        self._room = self._settings.hwm
        self._allowance = Allowance(self._room, _MOST_BYTES)
        self._connection = _Connection(self._factory, self._settings.hwm)
        socket = self._connection.socket
        socket.set(zmq.XPUB_NODROP, 1)
        socket.set(zmq.MAXMSGSIZE, _LONGEST_SUBSCRIPTION)
        socket.set(zmq.CONNECT_TIMEOUT, _CONNECT_TIMEOUT)
        socket.set(zmq.IPV6, int("::" in endpoint))
        self._monitor = _Monitor(self._factory, socket, self._heard)
        kind = ZmqEndpointType.bind if self._bound else ZmqEndpointType.connect
        try:
            self._connection.addEndpoints([ZmqEndpoint(kind, endpoint)])
        except zmq.ZMQError as error:
            self.close()
            number = error.errno or 0
            raise OSError(number, zmq.strerror(number), endpoint) from error
        self._log.info("KV events are published at {endpoint} under {topic!r}.", endpoint=self.endpoint, topic=topic)

    @property
    def endpoint(self) -> str:
        """Where it is, as it was said; where the system was to find a port, with that."""
        if not self._bound or not is_found(self._settings.endpoint):
            return self._settings.endpoint
        return str(self._connection.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Send a batch to all who can take it; see :class:`vllmsim.interfaces.IBlockEventPublisher`.

        One that ZeroMQ does not take is lost, and the next is sent all the same.
        """
        try:
            self._send([self._topic, sequence.to_bytes(8, "big"), payload], events)
        except zmq.ZMQError as error:
            self._metrics.events_dropped(events)
            if not self._failed:
                self._failed = True
                self._log.error(
                    "KV events could not be sent at {endpoint}: {error}. Further ones are only counted.",
                    endpoint=self._settings.endpoint,
                    error=error,
                )

    def _send(self, message: list[bytes], events: int) -> None:
        room = self._allowance.take(len(message[-1]))
        if room != self._room:
            self._make_room(room)
        try:
            self._connection.send(message)
        except zmq.Again:
            self._monitor.doRead()
            if self._bound and len(self._subscribers) != 1:
                self._send_to_others(message)
            self._drop(events)
        else:
            if self._watched:
                self._watched -= 1
                self._monitor.doRead()
                if self._is_somebody_stuck():
                    self._watched = _CALM
                    self._drop(events)

    def close(self) -> None:
        """Take no more batches; what waits is sent while the factory lets it linger."""
        self._monitor.shutdown()
        self._connection.shutdown()

    def _make_room(self, room: int) -> None:
        """Have all connections have a high-water mark, unless one was lost just now.

        ZeroMQ tells both ends of each queue, and does not look whether the other end of one that is being given up is
        still there: if it is not, the process crashes. What is heard of last is told to the monitor before that.
        """
        socket = self._connection.socket
        # Connections that are new get to know it too, once the socket has heard of them.
        socket.get(zmq.EVENTS)
        self._monitor.doRead()
        if self._factory.reactor.seconds() - self._left >= _GIVEN_UP:
            socket.set(zmq.SNDHWM, room)
            self._room = room

    def _send_to_others(self, message: list[bytes]) -> None:
        socket = self._connection.socket
        socket.set(zmq.XPUB_NODROP, 0)
        try:
            self._connection.send(message)
        finally:
            socket.set(zmq.XPUB_NODROP, 1)
        self._watched = _CALM

    def _is_somebody_stuck(self) -> bool:
        """Tell whether the kernel takes nothing more for some subscriber."""
        poll = select.poll()
        for descriptor in self._subscribers:
            poll.register(descriptor, select.POLLOUT)
        return len(poll.poll(0)) < len(self._subscribers)

    def _drop(self, events: int) -> None:
        self._metrics.events_dropped(events)
        if not self._warned:
            self._warned = True
            self._log.warn(
                "A subscriber at {endpoint} does not keep up and loses KV events; further ones are only counted.",
                endpoint=self._settings.endpoint,
            )

    def _heard(self, event: int, value: int) -> None:
        if event == zmq.EVENT_ACCEPTED:
            self._subscribers.add(value)
        elif event == zmq.EVENT_DISCONNECTED:
            self._subscribers.discard(value)
            self._left = self._factory.reactor.seconds()
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._attempts = None
            if self._room != self._settings.hwm:
                self._room = 0
        elif self._attempts is not None:
            self._attempts += 1
            if self._attempts == self._settings.connect_attempts:
                self._give_up()

    def _give_up(self) -> None:
        endpoint, self._attempts = self._settings.endpoint, None
        self._log.error(
            "Nobody can be reached at {endpoint} in {count} attempts: KV events are not published.",
            endpoint=endpoint,
            count=self._settings.connect_attempts,
        )
        with suppress(zmq.ZMQError):
            self._connection.socket.disconnect(endpoint)
