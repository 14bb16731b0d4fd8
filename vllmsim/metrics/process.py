# -*- test-case-name: tests.metrics.test_process -*-
"""What the process takes, under the names that every Prometheus client uses.

prometheus_client's own collector counts open files by listing them, which takes half a microsecond for each connection:
a millisecond with two thousand streams. Linux 6.2 and later just says how many there are.
"""

import os
import resource
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from attrs import define, field

from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Counter, Gauge

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@define(eq=False)
class ProcessMetrics:
    """Looks at this process when it is asked, and has nothing to say where there is no ``/proc``.

    :param proc: where Linux tells of processes.
    """

    _proc: Path = Path("/proc")
    _families: Families = field(init=False, factory=lambda: Families({}))
    _booted: float | None = field(init=False)
    _virtual: Gauge = field(init=False)
    _resident: Gauge = field(init=False)
    _started: Gauge = field(init=False)
    _processor: Counter = field(init=False)
    _open: Gauge = field(init=False)
    _most: Gauge = field(init=False)

    @_booted.default
    def _boot_time(self) -> float | None:
        try:
            lines = (self._proc / "stat").read_text("ascii").splitlines()
        except OSError:
            # As where a sandbox shows processes and nothing else.
            seen = (self._proc / "self").exists()
            return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) if seen else None
        return next(float(line.split()[1]) for line in lines if line.startswith("btime "))

    def __attrs_post_init__(self) -> None:
        f = self._families
        self._virtual = f.show("process_virtual_memory_bytes", "Virtual memory size in bytes.", Gauge())
        self._resident = f.show("process_resident_memory_bytes", "Resident memory size in bytes.", Gauge())
        self._started = f.show(
            "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", Gauge()
        )
        self._processor = f.show("process_cpu_seconds", "Total user and system CPU time spent in seconds.", Counter())
        self._open = f.show("process_open_fds", "Number of open file descriptors.", Gauge())
        self._most = f.show("process_max_fds", "Maximum number of open file descriptors.", Gauge())

    def write(self, names: Collection[str] = ()) -> str:
        """Look, and write what is seen, or what has one of some names."""
        if self._booted is None:
            return ""
        try:
            self._look(self._booted, self._proc / "self")
        except OSError:
            # Such as when as many files are open as may be.
            return ""
        return self._families.write(names)

    def _look(self, booted: float, own: Path) -> None:
        # Behind the name of the program, which may have blanks and brackets.
        fields = (own / "stat").read_bytes().rpartition(b")")[2].split()
        self._virtual.value = int(fields[20])
        self._resident.value = int(fields[21]) * resource.getpagesize()
        self._started.value = int(fields[19]) / _TICKS + booted
        self._processor.value = (int(fields[11]) + int(fields[12])) / _TICKS
        self._open.value = (own / "fd").stat().st_size or sum(1 for _ in (own / "fd").iterdir())
        self._most.value = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
