"""A service to be called: it counts."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from vllmsim.api.declared import Message, Method, declare
from vllmsim.api.declared import Service as DeclaredService
from vllmsim.api.frames import frame
from vllmsim.errors import QueueFull
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service

DECLARED = declare(
    "numbers.proto",
    "test",
    Message("Number", ("int64", "value", 1), ("string", "text", 2)),
    DeclaredService(
        "Numbers",
        Method("Double", "Number", "Number"),
        Method("Later", "Number", "Number"),
        Method("Fail", "Number", "Number"),
        Method("Break", "Number", "Number"),
        Method("Count", "Number", "Number", streams_out=True),
        Method("Sum", "Number", "Number", streams_in=True, streams_out=True),
        Method("Given", "Number", "Number", streams_out=True),
        Method("Collect", "Number", "Number", streams_in=True),
        Method("HangUp", "Number", "Number", streams_out=True),
        Method("Ready", "Number", "Number", streams_out=True),
        Method("Missing", "Number", "Number"),
    ),
)
NUMBERS = DECLARED.service("Numbers")
Number = DECLARED.message("Number")


@define(eq=False)
class Counter:
    """Counts; it is no generator, and has nothing to close."""

    _most: int
    _value: int = field(init=False, default=0)

    def __aiter__(self) -> "Counter":
        """Be an iterator."""
        return self

    async def __anext__(self) -> Any:
        """Count on."""
        if self._value == self._most:
            raise StopAsyncIteration
        self._value += 1
        return Number(value=self._value)


@define(eq=False)
class NumberCalls:
    """Counts.

    :param heard: what has happened.
    :param waits: the waiting calls of Later.
    """

    service: ClassVar[Service] = Service(NUMBERS)

    clock: IReactorTime
    heard: list[Any] = field(factory=list)
    waits: list["Deferred[None]"] = field(factory=list)

    @service.unary("Double", inference=True, remembered=True)
    def double(self, request: Any, rpc: Rpc) -> Any:
        """Double a number."""
        self.heard.append((rpc.route, request.value))
        return Number(value=request.value * 2, text=request.text)

    @service.unary("Later")
    async def later(self, request: Any, _: Rpc) -> Any:
        """Double it when somebody says so."""
        waiting: Deferred[None] = Deferred()
        self.waits.append(waiting)
        try:
            await waiting
        except CancelledError:
            self.heard.append("cancelled")
            raise
        return Number(value=request.value * 2)

    @service.unary("Fail")
    def fail(self, request: Any, rpc: Rpc) -> Any:
        """Refuse."""
        rpc.setHeader(b"Retry-After", b"7")
        raise QueueFull("Full: 100 %.")

    @service.unary("Break")
    def break_(self, request: Any, _: Rpc) -> Any:
        """Fail for no reason."""
        raise KeyError("secret")

    @service.stream("Count")
    async def count(self, request: Any, _: Rpc) -> AsyncIterator[Any]:
        """Count to a number, one a second; a negative one fails when it is reached."""
        try:
            for value in range(1, abs(request.value) + 1):
                await deferLater(self.clock, 1)
                self.heard.append(value)
                yield Number(value=value, text=request.text)
            if request.value < 0:
                raise QueueFull("Full.")
            if request.text == "break":
                raise KeyError("secret")
        finally:
            self.heard.append("closed")

    @service.conversation("Sum")
    async def sum(self, requests: AsyncIterator[Any], _: Rpc) -> AsyncIterator[Any]:
        """Add what comes, and tell the sum each time."""
        total = 0
        try:
            async for request in requests:
                total += request.value
                yield Number(value=total)
        finally:
            self.heard.append("closed")

    @service.raw("Given")
    def given(self, rpc: Rpc) -> None:
        """Say what was said, twice."""
        message = rpc.content.read()
        rpc.write(frame(message))
        rpc.write_last(frame(message))

    @service.stream("Ready")
    def ready(self, request: Any, _: Rpc) -> AsyncIterator[Any]:
        """Count to a number at once, and need not be closed."""
        return Counter(request.value)

    @service.raw("HangUp")
    async def hang_up(self, rpc: Rpc) -> None:
        """Say so many things, and leave in one of several ways."""
        said = Number.FromString(rpc.content.read())
        for _ in range(said.value):
            rpc.send(said)
        if said.text == "early":
            rpc.end_early()
        else:
            rpc.hang_up(reset=said.text == "reset")
        try:
            await Deferred()
        except CancelledError:
            self.heard.append("cancelled")
            raise
