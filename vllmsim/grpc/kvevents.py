# -*- test-case-name: tests.grpc.test_kvevents -*-
"""``SubscribeKvEvents`` of ``vllm.grpc.engine.VllmEngine``: a rank's KV events, and how much it has to do.

A subscriber says where to begin. With 0 it wants to know which blocks there are: it is told all batches, or, when the
first are not kept any more, the blocks that there are and the batches that follow. With another number it wants what
follows on the batch of that number. Gateways name the last that they have taken, so that the one behind it is enough;
but who understands that it is the first to come is right too, so that it comes again if it is there. When it has not
been, or the one behind it is gone, there is no such place, and the subscriber begins anew with 0. The batches of all
ranks that the port leads to come in one stream, each under its rank's number and with the sequence numbers of that
rank; a single number then names no place in them.

Nothing is kept for a subscriber who does not read: when it does, and the batches that it has not read are gone, the
stream ends with DATA_LOSS.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import ClassVar, Final

from attrs import define, field
from smg_grpc_proto.generated import common_pb2 as pb
from smg_grpc_proto.generated import vllm_engine_pb2
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vllmsim.api.engine.kvevents import NOT_ENABLED, KvEventWriter
from vllmsim.api.engine.loadrecords import LOOK, LoadRecorder
from vllmsim.errors import Unavailable
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import CallError, Code
from vllmsim.interfaces import IBlockEventLog, ILoads
from vllmsim.loads import LoadFigures
from vllmsim.turns import SharedTurn

MOST_SUBSCRIPTIONS: Final = 64
"""Subscriptions at the same time, at most: each may hold a picture of all blocks."""
_GRAIN: Final = 0.01
"""Seconds for which a load is told as it was: with a long queue it takes a while to find out."""


@define(eq=False)
class _Bell:
    """Wakes who waits for news, in a turn of its own: who has the news must not wait until they are read."""

    _clock: IReactorTime
    _rung: bool = field(init=False, default=False)
    _call: IDelayedCall | None = field(init=False, default=None)

    def ring(self) -> None:
        """Tell that there are news."""
        self._rung = True
        if self._call is not None:
            self._call.reset(0)

    async def wait(self, seconds: float) -> None:
        """Wait for news that come after the last wait, but not for longer than some seconds."""
        if not self._rung:
            news: Deferred[None] = Deferred()
            call = self._call = self._clock.callLater(seconds, news.callback, None)
            try:
                await news
            finally:
                self._call = None
                if call.active():
                    call.cancel()
        self._rung = False


@define(eq=False)
class _Reader:
    """One subscription's place in the batches of one rank.

    :param start: the batch that is gone on from; 0 for what there is.
    :raises CallError: when there is no such place.
    """

    _log: IBlockEventLog
    _writer: KvEventWriter
    _start: int
    _next: int = field(init=False)
    _parts: Iterator[pb.KvEventBatch] = field(init=False, default=iter(()))
    """Those of the picture that are not read yet."""

    def __attrs_post_init__(self) -> None:
        log, start = self._log, self._start
        if start and start >= log.end:
            raise CallError(
                Code.OUT_OF_RANGE,
                f"SubscribeKvEvents: {start} is beyond the last sequence number, {log.end - 1}: the server has started "
                "anew; resubscribe from zero.",
            )
        if start and start < log.begin - 1:
            raise CallError(
                Code.OUT_OF_RANGE,
                f"SubscribeKvEvents: the history begins at {log.begin}, and what follows on {start} is gone; "
                "resubscribe from zero for a state snapshot.",
            )
        self._next = max(start, log.begin)
        if log.begin and not start:
            picture = log.picture()
            self._parts = self._writer.picture(log.rank, log.block_size, log.epoch(), picture)
            self._next = picture.sequence + 1

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to read, and will not be."""
        return bool(self._log.closed) and self._next >= self._log.end

    def read(self) -> pb.KvEventBatch | None:
        """Read the next batch.

        :return: None if there is none yet.
        :raises CallError: when it is gone.
        """
        log = self._log
        part = next(self._parts, None)
        if part is not None:
            return part
        if self._next < log.begin:
            raise CallError(
                Code.DATA_LOSS,
                f"SubscribeKvEvents: the subscriber of rank {log.rank} is {log.end - self._next} batches behind, and "
                "the history no longer reaches back; resubscribe from zero.",
                500,
            )
        if self._next >= log.end:
            return None
        batch = log.read(self._next)
        self._next += 1
        return self._writer.batch(log.rank, log.block_size, batch)


@define(eq=False)
class KvEventCalls:
    """Tells subscribers.

    :param logs: finds by number the events of all ranks that the port leads to.
    :param loads: finds who tells how much these have to do.
    """

    service: ClassVar[Service] = Service(vllm_engine_pb2.DESCRIPTOR.services_by_name["VllmEngine"])

    _clock: IReactorTime
    _logs: Callable[[], Mapping[int, IBlockEventLog]]
    _loads: Callable[[], ILoads]
    _subscriptions: int = field(init=False, default=0)
    _turn: SharedTurn = field(init=False)
    _known: dict[int, tuple[float, LoadFigures | None]] = field(init=False, factory=dict)
    """The loads that were told last, and when they were found out."""

    @_turn.default
    def _make_turn(self) -> SharedTurn:
        return SharedTurn(self._clock)

    @service.stream("SubscribeKvEvents")
    async def subscribe(self, request: pb.SubscribeKvEventsRequest, rpc: Rpc) -> AsyncIterator[pb.KvEventBatch]:
        """Tell batches and loads, for as long as the subscriber likes.

        :raises CallError: when there are no events, no such place, or too many subscribers; or when the subscriber has
            read too slowly.
        :raises Unavailable: when the server shuts down, and all is told.
        """
        logs = self._logs()
        self._check(request, logs)
        bell = _Bell(self._clock)
        self._subscriptions += 1
        leaving = [log.watch(bell.ring) for log in logs.values()]
        try:
            writer, start = KvEventWriter(), request.start_sequence_number
            readers = [_Reader(log, writer, start) for log in logs.values()]
            # Whoever subscribes waits for the head, and there may be no batch for long.
            rpc.write(b"")
            early, epoch = request.load_records_before_first_batch, next(iter(logs.values())).epoch
            recorder = LoadRecorder(self._figures, [*logs], early, self._clock.seconds())
            while not all(reader.ended for reader in readers):
                idle = True
                for reader in readers:
                    # It takes some milliseconds, and there may be many who want the same.
                    await self._turn.enter()
                    begun = self._clock.seconds()
                    batch = reader.read()
                    self._turn.leave(begun)
                    if batch is not None:
                        idle = False
                        yield recorder.stamp(batch, self._clock.seconds())
                if idle:
                    for batch in recorder.due(self._clock.seconds(), epoch()):
                        yield batch
                    await bell.wait(LOOK)
            raise Unavailable("The server is shutting down.")
        finally:
            self._subscriptions -= 1
            for leave in leaving:
                leave()

    def _figures(self, rank: int) -> LoadFigures | None:
        """Find out how much a rank has to do, for all subscribers."""
        now = self._clock.seconds()
        known = self._known.get(rank)
        if known is None or now - known[0] >= _GRAIN:
            known = self._known[rank] = now, self._loads().figures(rank)
        return known[1]

    def _check(self, request: pb.SubscribeKvEventsRequest, logs: Mapping[int, IBlockEventLog]) -> None:
        """Find out whether somebody can subscribe.

        :raises CallError: when not.
        """
        if not logs:
            raise CallError(Code.UNIMPLEMENTED, NOT_ENABLED, 501)
        if request.start_sequence_number and len(logs) > 1:
            raise CallError(
                Code.OUT_OF_RANGE,
                f"SubscribeKvEvents: each of {len(logs)} ranks has sequence numbers of its own, so that one number "
                "cannot say where to resume; resubscribe from zero.",
            )
        if self._subscriptions >= MOST_SUBSCRIPTIONS:
            raise CallError(
                Code.RESOURCE_EXHAUSTED,
                f"SubscribeKvEvents: there are {MOST_SUBSCRIPTIONS} subscribers already, and cannot be more.",
                429,
            )
