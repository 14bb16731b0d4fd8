# -*- test-case-name: tests.processes.test_authority -*-
"""The configurations of all ranks, seen from the process of one: the supervisor has them."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim import errors
from vllmsim.config.live import LiveConfiguration
from vllmsim.errors import InferenceError, Unavailable
from vllmsim.interfaces import IConfigurations
from vllmsim.processes.authority import PATIENCE
from vllmsim.processes.wire import Message, Wire, unpack

_MARGIN: Final = 2.0
"""Seconds beyond those that ranks may take, for the supervisor itself."""


@implementer(IConfigurations)
@define(eq=False)
class RemoteConfigurations:
    """Asks the supervisor, and takes over what it tells.

    :param live: the configuration of the rank that has this process.
    """

    _live: LiveConfiguration
    _clock: IReactorTime
    wire: Wire = field(init=False)
    """How the supervisor is reached."""
    _asked: dict[int, Deferred[Any]] = field(init=False, factory=dict)
    _numbers: "count[int]" = field(init=False, factory=count)

    @wire.default
    def _make_wire(self) -> Wire:
        return Wire(self._received)

    async def describe(self, rank: int) -> Mapping[str, Any]:
        """Show what holds for a rank; see :class:`vllmsim.interfaces.IConfigurations`."""
        shown: Mapping[str, Any] = await self._ask("describe", rank=rank)
        return shown

    async def change(
        self, values: Mapping[str, object], rank: int | None, who: str, *, step: bool = False, whole: bool = False
    ) -> None:
        """Change options; see :class:`vllmsim.interfaces.IConfigurations`."""
        await self._ask("change", values=values, rank=rank, who=who, step=step, whole=whole)

    async def undo(self, who: str) -> None:
        """Have back what was before; see :class:`vllmsim.interfaces.IConfigurations`."""
        await self._ask("undo", who=who)

    async def history(self) -> Sequence[Mapping[str, Any]]:
        """Tell what has changed; see :class:`vllmsim.interfaces.IConfigurations`."""
        history: Sequence[Mapping[str, Any]] = await self._ask("history")
        return history

    async def _ask(self, method: str, **arguments: Any) -> Any:
        number = next(self._numbers)
        answer = self._asked[number] = Deferred[Any]()
        self.wire.send(ask=number, method=method, arguments=arguments)
        try:
            return await answer.addTimeout(PATIENCE + _MARGIN, self._clock)
        except DeferredTimeoutError:
            raise Unavailable("The supervisor of the ranks does not answer.") from None
        finally:
            del self._asked[number]

    def _received(self, message: Message) -> None:
        if "version" in message:
            self._live.swap(unpack(message["configuration"]))
            self.wire.send(has=message["version"])
            return
        answer = self._asked.get(message["answer"])
        if answer is None or answer.called:
            return
        if "error" in message:
            answer.errback(_error(message))
        else:
            answer.callback(message["value"])


def _error(message: Message) -> InferenceError:
    """Make the error that the supervisor tells of."""
    kind = getattr(errors, message["error"])
    assert issubclass(kind, InferenceError)
    # Some kinds take other arguments, of which they make the message.
    error: InferenceError = kind.__new__(kind)
    InferenceError.__init__(error, message["message"], message["param"])
    return error
