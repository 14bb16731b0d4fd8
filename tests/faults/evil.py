"""A plugin of every kind that does not do its work, in whichever of its members and in whatever way it is told to.

It is made from the interfaces: a member that an interface gets later is one that it does not do. Its options are
``member``, ``act`` and ``when``, see :class:`Evil`, and ``sick``, the path of a file: as long as that is there the
plugin does not do its work, and otherwise it does what the program would do without it.
"""

import asyncio
import inspect
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NoReturn

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.plugin import IPlugin
from zope.interface import Interface, implementer
from zope.interface.interfaces import IMethod

import vllmsim.interfaces
from vllmsim.interfaces import IBlockEventOutlet, IDoorkeeper, IFailure, IMiddleware
from vllmsim.plugins.registry import SEAMS

SEEN: Final[dict[tuple[str, str], set[str]]] = {}
"""Which members somebody has asked for, by the interface and their name, and at which times each may break."""


class Spite(Exception):
    """Cannot be told of."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Fatal(BaseException):
    """Is no Exception."""


class Poison:
    """Breaks whatever is done with it."""

    def _break(self, *_arguments: object, **_more: object) -> NoReturn:
        raise Fatal("poison")

    __bool__ = __len__ = __iter__ = __call__ = __await__ = __str__ = __repr__ = __eq__ = __hash__ = _break
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __float__ = __index__ = __getitem__ = __contains__ = _break
    __getattr__ = __conform__ = _break


class Sly(Poison):
    """Does so only once it is looked into: it is a number, a text and a list of things."""

    __class__ = float  # type: ignore[assignment]


class Endless:
    """Goes on for ever, and is awaited in vain: what it waits for is nothing that can come."""

    def __iter__(self) -> Iterator[int]:
        return itertools.repeat(-1)

    def __await__(self) -> Iterator[int]:
        yield 7
        raise Fatal("woken up")


def _raise(kind: type[BaseException], *arguments: Any) -> NoReturn:
    raise kind(*arguments)


def _recurse() -> Any:
    return _recurse()


def _twice() -> None:
    fired: Deferred[None] = Deferred()
    fired.callback(None)
    fired.callback(None)


ACTS: Final[Mapping[str, Callable[[], Any]]] = {
    **{
        kind.__name__: partial(_raise, kind, "evil")
        for kind in (
            Exception, ValueError, OSError, MemoryError, AssertionError, StopIteration, StopAsyncIteration, KeyError,
            KeyboardInterrupt, SystemExit, GeneratorExit, Fatal, Spite, CancelledError,
        )
    },
    "UnicodeDecodeError": partial(_raise, UnicodeDecodeError, "utf-8", b"\xff", 0, 1, "evil"),
    "asyncio.CancelledError": partial(_raise, asyncio.CancelledError),
    "RecursionError": _recurse,
    "None": lambda: None,
    "number": lambda: -7,
    "large number": lambda: 10**400,
    "no number": lambda: float("nan"),
    "text": lambda: "evil\x00\ud800",
    "bytes": lambda: b"\xff",
    "list": lambda: [None, -1],
    "endless": Endless,
    "class": lambda: Poison,
    "poison": Poison,
    "sly": Sly,
    "pending": Deferred,
    "pending uncancelled": lambda: Deferred(lambda _: _raise(Fatal, "not me")),
    "failed": lambda: fail(Exception("evil")),
    "failed for good": lambda: fail(KeyboardInterrupt()),
    "fired": lambda: succeed(Poison()),
    "fired twice": _twice,
}  # fmt: skip
"""What it does in the place of its work, by names."""
MOMENTS: Final = ("at once", "awaited", "called")
"""When it does so: when the member is asked for, or when its result is awaited or called."""


@define(eq=False)
class Evil:
    """Stands in the place of something and does its work, or not.

    :param interface: whose members it has.
    :param well: does the work.
    :param member: which one is not done; empty for all.
    :param act: of :data:`ACTS`; ``each`` for one after the other, and the work in between.
    :param turn: gives them, and nothing for the work.
    :param when: of :data:`MOMENTS`.
    """

    interface: Any
    well: Any
    member: str
    act: str
    when: str
    sick: str
    turn: Iterator[str]

    def use(self, name: str, *arguments: Any) -> Any:
        """Do what a member does."""
        seen = SEEN.setdefault((self.interface.__name__, name), {"at once"})
        method = IMethod.providedBy(self.interface[name])
        sick = self.member in {"", name} and os.path.exists(self.sick)  # noqa: PTH110 - for every token
        act = sick and (next(self.turn) if self.act == "each" else self.act)
        if not act:
            found = getattr(self.well, name)
            if not method:
                return found
            result = found(*arguments)
            if inspect.isawaitable(result):
                seen.add("awaited")
            elif callable(result):
                seen.add("called")
            return result
        do = ACTS[act]

        async def later() -> Any:
            return do()

        return {"awaited": later, "called": lambda: lambda *_: do()}.get(self.when, do)()


def make(interface: Any, well: Any, options: Mapping[str, Any]) -> Any:
    """Make what provides an interface."""
    turn = itertools.cycle([each for act in ACTS for each in ("", "", "", "", "", "", act)])
    member, act, when, sick = (options[each] for each in ("member", "act", "when", "sick"))
    keep = Evil(interface, well, member, act, when, sick, turn)

    def method(name: str) -> Any:
        return lambda _self, *arguments: keep.use(name, *arguments)

    members: dict[str, Any] = {}
    for name, description in interface.namesAndDescriptions(all=True):
        members[name] = method(name) if IMethod.providedBy(description) else property(method(name))
    return implementer(interface)(type("Made", (), members))()


class Failing:
    """Has no request fail."""

    active = True

    def consider(self) -> Any:
        """Decide about nothing."""
        return lambda _: None


class Outlet:
    """Takes batches."""

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Take one."""

    def open(self) -> None:
        """Do nothing."""

    def describe(self) -> Mapping[str, object]:
        """Tell nothing."""
        return {}

    async def close(self) -> None:
        """Do nothing."""


class Watching:
    """Lets everybody in."""

    def begin(self, exchange: Any) -> None:
        """Do nothing."""

    def end(self, exchange: Any) -> None:
        """Do nothing."""

    def admits(self, exchange: Any) -> bool:
        """Say so."""
        return True


class Waiting(Watching):
    """Does so later."""

    async def begin(self, exchange: Any) -> None:  # type: ignore[override]
        """Do nothing, and have others wait for that."""


WELL: Final[Mapping[type[Interface], Callable[[], Any]]] = {
    IFailure: Failing, IBlockEventOutlet: Outlet, IMiddleware: Waiting, IDoorkeeper: Watching,
}  # fmt: skip
"""What does the work where the program has nothing of its own to lend."""


def products(seam: Any) -> list[Any]:
    """List the interfaces of what a seam may be given: its own, and those that are more than that."""
    every = (each for each in vars(vllmsim.interfaces).values() if isinstance(each, type(Interface)))
    return [each for each in every if each.isOrExtends(SEAMS[seam].product)]


@frozen
class Factory:
    """Makes one of them."""

    interface: Any
    name: str
    help: str = "Does not do its work."

    def create(self, surroundings: Any) -> Any:
        """Make it, or not: that is one more member."""
        options = surroundings.options
        wanted = {each: options.get(each, "") for each in ("member", "act", "when", "sick")}
        seen = SEEN.setdefault((self.interface.__name__, "create"), set())
        seen.add("at once")
        if wanted["member"] == "create" and os.path.exists(wanted["sick"]):  # noqa: PTH110
            return ACTS[wanted["act"]]()
        well = WELL[self.interface]() if self.interface in WELL else surroundings.usual
        return make(self.interface, well, wanted)


def factories() -> dict[str, Any]:
    """Make a factory for every interface of every seam, by the names of their variables."""
    made = {}
    for seam in SEAMS:
        for product in products(seam):
            offered = implementer(IPlugin, seam)(type("Offer", (Factory,), {}))
            made[product.__name__] = offered(product, f"evil-{product.__name__}")
    return made
