# -*- test-case-name: tests.metrics.test_adapters -*-
"""What metrics tell of LoRA adapters: who uses which, as vLLM says it, and where adapters are.

``vllm:lora_requests_info`` tells in its labels which adapters have sequences, and in its value when that became so, in
seconds since the epoch. Each combination of labels is a series, those of the past stay, and readers take the one with
the greatest value::

    vllm:lora_requests_info{max_lora="2",running_lora_adapters="a,b",waiting_lora_adapters="a,b"} 1.795339833e+09

vLLM names an adapter with any sequence in both lists; `lora-info-exact` has each say what its name does. Where vLLM
keeps old series for ever, the latest 256 are kept here, and fewer if names are long. Values always grow, also when the
clock is set back.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IAdapterMetrics
from vllmsim.metrics.exposition import Families, Family
from vllmsim.metrics.series import Counter, Gauge

_MOST: Final = 256
"""How many combinations of adapters are remembered."""
_MOST_CHARACTERS: Final = 1 << 20
"""How long they are together; the latest is remembered in any case."""
_TICK: Final = 1e-6
"""Seconds by which each value is greater than the one before, at least."""
_LABELS: Final = ("max_lora", "running_lora_adapters", "waiting_lora_adapters")


@implementer(IAdapterMetrics)
@define(eq=False)
class AdapterMetrics:
    """Counts the sequences of adapters, and those in slots and in memory.

    Nothing is shown before adapters are of interest: `enable-lora` says so, or there are some.

    :param epoch: tells seconds since the epoch.
    """

    _live: LiveConfiguration
    _epoch: Callable[[], float]
    _waiting: dict[str, int] = field(init=False, factory=dict)
    _running: dict[str, int] = field(init=False, factory=dict)
    _combinations: OrderedDict[tuple[str, ...], Gauge] = field(init=False, factory=OrderedDict)
    """Since when each combination is, or was, by its labels; the latest is the last."""
    _characters: int = field(init=False, default=0)
    """How long all combinations are."""
    _families: list[Family] = field(init=False, factory=list)
    """What is not shown before adapters are of interest; the first tells who uses them."""
    _in_use: bool = field(init=False, default=False)
    _places: dict[str, Gauge] = field(init=False)
    _evictions: dict[str, Counter] = field(init=False)
    _loads: Counter = field(init=False, factory=Counter)
    _load_seconds: Counter = field(init=False, factory=Counter)
    _last: float = field(init=False, default=0.0)

    @_places.default
    def _make_places(self) -> dict[str, Gauge]:
        return {"gpu": Gauge(), "memory": Gauge()}

    @_evictions.default
    def _make_evictions(self) -> dict[str, Counter]:
        return {"gpu": Counter(), "memory": Counter()}

    def show_info(self, families: Families) -> None:
        """Show what vLLM does."""
        text = "Which adapters have sequences, and since when."
        self._hide(families.family("vllm:lora_requests_info", text, Gauge))

    def show_own(self, families: Families) -> None:
        """Show what it does not, once the other is there."""
        f = families
        before = len(list(f))
        f.show_by("place", "vllmsim:lora_adapters", "Adapters in GPU slots, and in memory with those.", self._places)
        f.show("vllmsim:lora_loads", "Adapters that were read from disk.", self._loads)
        f.show("vllmsim:lora_load_seconds", "How long that took, all together.", self._load_seconds)
        text = "Adapters that gave way to others, by the place that they lost."
        f.show_by("place", "vllmsim:lora_evictions", text, self._evictions)
        self._hide(*list(f)[before:])
        if self._live.current.enable_lora or self._live.current.lora_modules:
            self._show()
        self._live.watch(self._swapped)

    def sequences_changed(self, name: str, waiting: int, running: int) -> None:
        """Count sequences; see :class:`vllmsim.interfaces.IAdapterMetrics`."""
        before = name in self._waiting, name in self._running
        for counts, more in ((self._waiting, waiting), (self._running, running)):
            if more:
                counts[name] = counts.get(name, 0) + more
                if not counts[name]:
                    del counts[name]
        after = name in self._waiting, name in self._running
        if (before != after) if self._live.current.lora_info_exact else (any(before) != any(after)):
            self._tell()

    def slots_changed(self, gpu: int, memory: int) -> None:
        """Remember how many adapters are where."""
        self._places["gpu"].value, self._places["memory"].value = gpu, memory
        if not self._in_use:
            self._show()

    def adapter_loaded(self, seconds: float) -> None:
        """Count an adapter that comes from disk."""
        self._loads.value += 1
        self._load_seconds.value += seconds

    def adapter_evicted(self, place: str) -> None:
        """Count an adapter that gives way."""
        self._evictions[place].value += 1

    def _hide(self, *families: Family) -> None:
        for family in families:
            family.shown = False
            self._families.append(family)

    def _show(self) -> None:
        self._in_use = True
        for family in self._families:
            family.shown = True
        self._tell()

    def _swapped(self, _before: Configuration, _now: Configuration) -> None:
        if self._in_use:
            self._tell()

    def _tell(self) -> None:
        """Write down which adapters have sequences from now on, unless it is written already."""
        c = self._live.current
        running, waiting = sorted(self._running), sorted(self._waiting)
        if not c.lora_info_exact:
            running = waiting = sorted({*running, *waiting})
        labels = str(c.max_loras), ",".join(running), ",".join(waiting)
        combinations = self._combinations
        if combinations and next(reversed(combinations)) == labels:
            return
        self._last = max(self._epoch(), self._last + _TICK)
        if labels not in combinations:
            combinations[labels] = self._families[0].add(Gauge(), dict(zip(_LABELS, labels, strict=True)))
            self._characters += sum(map(len, labels))
        combinations[labels].value = self._last
        combinations.move_to_end(labels)
        while len(combinations) > _MOST or (self._characters > _MOST_CHARACTERS and len(combinations) > 1):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        labels = self._combinations.popitem(last=False)[0]
        self._characters -= sum(map(len, labels))
        oldest = dict(zip(_LABELS, labels, strict=True))
        self._families[0].leave(lambda known: known != oldest)
