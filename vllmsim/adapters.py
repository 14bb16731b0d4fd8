# -*- test-case-name: tests.test_adapters -*-
"""Where LoRA adapters are: on disk, in memory, or in a slot on the GPU that is not there.

Everything that is served is on disk. A sequence needs its adapter in a slot, of which there are `max-loras`; what is in
a slot is in memory too, which has room for `max-cpu-loras`. Coming from disk takes `lora-load-time`, and coming from
memory no time. Who is not in use gives way, the least recently used first.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from zope.interface import implementer

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.inference import Adapter
from vllmsim.interfaces import IAdapterMetrics, IAdapterSlots


def has_adapter(path: str) -> bool:
    """Look whether there is an adapter at a path of this machine; that may take long where it is a network's."""
    try:
        return Path(path).expanduser().joinpath("adapter_config.json").is_file()
    except (OSError, RuntimeError, ValueError):
        # It is too long, belongs to a user whom nobody knows, or is no path.
        return False


@implementer(IAdapterSlots)
@define(eq=False)
class AdapterSlots:
    """Keeps the books of one rank's adapters.

    :param live: how many slots and how much memory there are, and how long loading takes.
    :param seconds: tells the time.
    :param adapter_of: finds the adapter that is served under a name; None if none is.
    """

    _live: LiveConfiguration
    _seconds: Callable[[], float]
    _adapter_of: Callable[[str], Adapter | None]
    _metrics: IAdapterMetrics
    _users: dict[int, int] = field(init=False, factory=dict)
    """How many sequences run with each adapter that is in use."""
    _idle: OrderedDict[int, Adapter] = field(init=False, factory=OrderedDict)
    """Those in slots that are not in use, the least recently used first."""
    _resting: OrderedDict[int, Adapter] = field(init=False, factory=OrderedDict)
    """Those in memory that are not in use, the idle ones among them, the least recently used first."""
    _there: dict[int, float] = field(init=False, factory=dict)
    """When the weights of each adapter in memory are there."""
    _evicted: list[Callable[[Adapter], object]] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self._live.watch(self._swapped)

    def watch(self, evicted: Callable[[Adapter], object]) -> None:
        """Have someone hear of adapters that lose their slot; see :class:`vllmsim.interfaces.IAdapterSlots`."""
        self._evicted.append(evicted)

    def holds(self, adapter: Adapter) -> bool:
        """Tell whether an adapter is in a slot."""
        return adapter.number in self._users or adapter.number in self._idle

    def loadable(self) -> bool:
        """Tell whether one that is in no slot would get one now."""
        return len(self._users) < self._live.current.max_loras

    def occupy(self, adapter: Adapter) -> float:
        """Use an adapter; see :class:`vllmsim.interfaces.IAdapterSlots`."""
        number = adapter.number
        if number not in self._users:
            self._users[number] = 0
            self._idle.pop(number, None)
            self._resting.pop(number, None)
            if number not in self._there:
                self._read(adapter)
            self._make_room()
        self._users[number] += 1
        return self._there[number]

    def release(self, adapter: Adapter) -> None:
        """Use an adapter for one sequence fewer."""
        number = adapter.number
        self._users[number] -= 1
        if not self._users[number]:
            del self._users[number]
            self._idle[number] = self._resting[number] = adapter
            self._make_room()

    def settle(self, adapter: Adapter) -> None:
        """Learn that no sequence waits for an adapter; see :class:`vllmsim.interfaces.IAdapterSlots`."""
        served = self._adapter_of(adapter.name)
        if adapter.number in self._resting and (served is None or served.number != adapter.number):
            self._drop(adapter)
            self._count()

    def clear(self) -> None:
        """Leave those that are not in use on disk alone; see :class:`vllmsim.interfaces.IAdapterSlots`."""
        for adapter in [*self._resting.values()]:
            self._drop(adapter)
        self._count()

    def load(self, adapter: Adapter) -> float:
        """Put an adapter into memory, or its weights anew if it is there.

        :return: in how many seconds it is there.
        """
        number = adapter.number
        seconds = self._read(adapter)
        if number in self._users:
            return seconds
        self._resting[number] = adapter
        self._resting.move_to_end(number)
        self._make_room()
        return seconds

    def _read(self, adapter: Adapter) -> float:
        """Begin to read an adapter from disk, which takes a time that is returned."""
        seconds = self._live.current.lora_load_time
        self._there[adapter.number] = self._seconds() + seconds
        self._metrics.adapter_loaded(seconds)
        return seconds

    def _make_room(self) -> None:
        """Have as many adapters give way as are too many."""
        c = self._live.current
        while self._idle and len(self._users) + len(self._idle) > c.max_loras:
            self._metrics.adapter_evicted("gpu")
            self._leave_slot(next(iter(self._idle.values())))
        # Those in use are never too many for the memory, unless it has just become smaller.
        room = max(c.max_cpu_loras or 0, c.max_loras) - len(self._users)
        while self._resting and len(self._resting) > room:
            self._metrics.adapter_evicted("memory")
            self._drop(next(iter(self._resting.values())))
        self._count()

    def _drop(self, adapter: Adapter) -> None:
        """Take an adapter that is not in use out of memory."""
        del self._resting[adapter.number], self._there[adapter.number]
        if adapter.number in self._idle:
            self._leave_slot(adapter)

    def _leave_slot(self, adapter: Adapter) -> None:
        del self._idle[adapter.number]
        for evicted in self._evicted:
            evicted(adapter)

    def _count(self) -> None:
        in_use = len(self._users)
        self._metrics.slots_changed(in_use + len(self._idle), in_use + len(self._resting))

    def _swapped(self, before: Configuration, now: Configuration) -> None:
        if (before.max_loras, before.max_cpu_loras) != (now.max_loras, now.max_cpu_loras):
            self._make_room()
