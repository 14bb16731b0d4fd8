# -*- test-case-name: tests.bench.test_machine -*-
"""The machine: which core is whose, how many files may be open, and what to say about it all."""

import os
import platform
import resource
import sys
import time
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

_CPUINFO: Final = Path("/proc/cpuinfo")
_STAT: Final = Path("/proc/stat")
_WE: Final = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@frozen
class Cores:
    """Who runs where.

    :param server: the server's core, or None where there is one core only, and nobody is pinned.
    :param client: the client's.
    :param second: the core of a second server: the client's, unless there is a third one.
    """

    server: int | None
    client: int | None
    second: int | None

    @property
    def used(self) -> set[int]:
        """All that somebody is pinned to."""
        return {core for core in (self.server, self.client, self.second) if core is not None}

    @classmethod
    def of(cls, usable: set[int]) -> "Cores":
        """Share the cores that this process may use."""
        if len(usable) == 1:
            return cls(None, None, None)
        client, *others = sorted(usable)
        return cls(others[-1], client, others[-2] if len(others) > 1 else client)


def pin(core: int | None, thread: int = 0) -> None:
    """Keep a thread, and what it starts, on a core.

    :param core: where, or None to change nothing.
    :param thread: this one, unless said otherwise.
    """
    if core is not None:
        os.sched_setaffinity(thread, {core})


def allow_many_files() -> int:
    """Open as many files as may be.

    :return: how many that is.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def busy_seconds(stat: str, cores: Collection[int]) -> float:
    """Tell how long cores have worked since the machine was started, for whomever.

    :param stat: the text of ``/proc/stat``.
    """
    ticks = 0
    for line in stat.splitlines():
        name, *numbers = line.split()
        if name in {f"cpu{core}" for core in cores}:
            user, nice, system, _idle, _waiting, interrupts, soft_interrupts = map(int, numbers[:7])
            ticks += user + nice + system + interrupts + soft_interrupts
    return ticks / os.sysconf("SC_CLK_TCK")


@define(eq=False)
class Others:
    """Tells how much of the cores went to others than this process and its children, which have all ended by then.

    :param cores: that may be used.
    """

    _cores: Collection[int]
    _begun: float = field(init=False, factory=time.monotonic)
    _busy: float = field(init=False)

    @_busy.default
    def _busy_now(self) -> float:
        own = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in _WE)
        return busy_seconds(_STAT.read_text(), self._cores) - own

    def share(self) -> float:
        """Tell what share of the cores' time that was until now."""
        return max(0.0, (self._busy_now() - self._busy) / (time.monotonic() - self._begun) / len(self._cores))


def cpu_model(cpuinfo: str) -> str:
    """Tell the processor's name.

    :param cpuinfo: the text of ``/proc/cpuinfo``.
    """
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def share_a_core(topology: Mapping[int, str], cores: Cores) -> bool:
    """Tell whether the client's core is another thread of the server's.

    :param topology: for each core the list of its siblings, as the kernel writes it.
    """
    return cores.server is not None and cores.client is not None and topology[cores.server] == topology[cores.client]


def describe(cores: Cores) -> dict[str, str]:
    """Tell what a reader has to know to compare figures with those of another machine."""
    usable = sorted(os.sched_getaffinity(0) | cores.used)
    siblings = Path("/sys/devices/system/cpu")
    topology = {core: (siblings / f"cpu{core}/topology/thread_siblings_list").read_text() for core in usable}
    pinned = "the server and the client pinned to cores of their own"
    if share_a_core(topology, cores):
        pinned = "the server and the client pinned to two threads of one core"
    if cores.server is None:
        pinned = "one core only, so nobody is pinned"
    return {
        "processor": cpu_model(_CPUINFO.read_text()),
        "cores": f"{os.cpu_count()}, {pinned}",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": f"{platform.python_implementation()} {sys.version.partition(' ')[0]}",
        **{name: version(name) for name in ("Twisted", "klein", "orjson", "pydantic")},
    }
