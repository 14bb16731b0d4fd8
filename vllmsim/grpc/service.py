# -*- test-case-name: tests.grpc.test_service -*-
"""How a service is declared: its methods are those of a class, each of which says which one it is.

A class has its :class:`Service` as ``service``, made of the descriptor, and decorators of that before its methods::

    @define(eq=False)
    class HealthCalls:
        service: ClassVar[Service] = Service(HEALTH)

        @service.unary("Check")
        def check(self, request: Any, rpc: Rpc) -> Any:
            ...

Several classes may share the methods of one service. What none of them has is answered as not implemented.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from inspect import isawaitable
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from attrs import frozen
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from vllmsim.api.declared import read_message
from vllmsim.grpc.rpc import Rpc
from vllmsim.turns import Turn

Answer: TypeAlias = Callable[..., Coroutine[Any, Any, None]]

F = TypeVar("F", bound=Callable[..., Any])


@frozen(eq=False)
class Method:
    """One method, and what answers it.

    :param answer: given an instance of the class that has it, and the call.
    :param remembered: whether the journal remembers such calls.
    :param inference: whether a model works for it: it is limited as only that is.
    """

    descriptor: MethodDescriptor
    answer: Answer
    remembered: bool
    inference: bool

    @property
    def streams_in(self) -> bool:
        """Whether the client sends any number of messages, which are answered as they come."""
        return bool(self.descriptor.client_streaming)


class Service:
    """What a class implements of a service."""

    def __init__(self, descriptor: ServiceDescriptor) -> None:
        self.descriptor = descriptor
        self.methods: dict[str, Method] = {}

    @property
    def name(self) -> str:
        """The full name."""
        return self.descriptor.full_name

    def unary(self, name: str, *, remembered: bool = False, inference: bool = False) -> Callable[[F], F]:
        """Declare what answers a message with a message, at once or later.

        It is given the message and the call, and gives the message, or something to await for it.
        """
        return self._declare(name, _answer_with_one, False, False, remembered, inference)

    def stream(self, name: str, *, remembered: bool = False, inference: bool = False) -> Callable[[F], F]:
        """Declare what answers a message with any number.

        It is given the message and the call, and gives an asynchronous iterator. That is asked for a message when the
        client has read enough of those before, and closed in any case; what it waits for is cancelled when the client
        leaves.
        """
        return self._declare(name, _answer_with_many, False, True, remembered, inference)

    def conversation(self, name: str, *, remembered: bool = False, inference: bool = False) -> Callable[[F], F]:
        """Declare what answers any number of messages with any number.

        It is given an asynchronous iterator of messages and the call, and gives one as those of :meth:`stream` do.
        """
        return self._declare(name, _answer_many_with_many, True, True, remembered, inference)

    def raw(self, name: str, *, remembered: bool = False, inference: bool = False) -> Callable[[F], F]:
        """Declare what is given nothing but the call, which has one message as its body.

        It writes messages in their frames, or gives them to :meth:`vllmsim.grpc.rpc.Rpc.answer`, and returns when it
        has, or what is awaited until it has.
        """
        return self._declare(name, _have_it_answer, False, None, remembered, inference)

    def _declare(
        self, name: str, adapt: Answer, streams_in: bool, streams_out: bool | None, remembered: bool, inference: bool
    ) -> Callable[[F], F]:
        descriptor = self.descriptor.methods_by_name[name]
        if descriptor.client_streaming is not streams_in or streams_out not in {None, descriptor.server_streaming}:
            raise ValueError(f"{descriptor.full_name} has its messages in another way")
        if name in self.methods:
            raise ValueError(f"{descriptor.full_name} is there twice")

        def declare(function: F) -> F:
            self.methods[name] = Method(descriptor, partial(adapt, function, descriptor), remembered, inference)
            return function

        return declare


class Implementation(Protocol):
    """An object whose class implements a service, or a part of one."""

    service: ClassVar[Service]


def _parse(descriptor: MethodDescriptor, data: bytes) -> Any:
    """Read a message.

    :raises UnreadableMessage: when it is none.
    """
    return read_message(GetMessageClass(descriptor.input_type), data)


async def _answer_with_one(
    function: Callable[..., Message | Awaitable[Message]], descriptor: MethodDescriptor, instance: object, rpc: Rpc
) -> None:
    answer = function(instance, _parse(descriptor, rpc.content.read()), rpc)
    rpc.answer_with(await answer if isawaitable(answer) else answer)


async def _answer_with_many(
    function: Callable[..., AsyncIterator[Message]], descriptor: MethodDescriptor, instance: object, rpc: Rpc
) -> None:
    await _send(function(instance, _parse(descriptor, rpc.content.read()), rpc), rpc)


async def _answer_many_with_many(
    function: Callable[..., AsyncIterator[Message]], descriptor: MethodDescriptor, instance: object, rpc: Rpc
) -> None:
    messages = _received(descriptor, rpc)
    try:
        await _send(function(instance, messages, rpc), rpc)
    finally:
        await _close(messages)


async def _have_it_answer(
    function: Callable[..., Awaitable[None] | None], _: MethodDescriptor, instance: object, rpc: Rpc
) -> None:
    answering = function(instance, rpc)
    if answering is not None:
        await answering


async def _received(descriptor: MethodDescriptor, rpc: Rpc) -> AsyncIterator[Message]:
    async for data in rpc.messages():
        yield _parse(descriptor, data)


async def _send(messages: AsyncIterator[Message], rpc: Rpc) -> None:
    """Write messages as they come, and as the client reads."""
    turn = Turn(rpc.site.clock)
    try:
        async for message in messages:
            rpc.send(message)
            await rpc.room()
            await turn.step()
    finally:
        await _close(messages)


async def _close(messages: AsyncIterator[Message]) -> None:
    """Have an iterator tidy up, if it is one that does."""
    close: Callable[[], Awaitable[None]] | None = getattr(messages, "aclose", None)
    if close is not None:
        await close()
