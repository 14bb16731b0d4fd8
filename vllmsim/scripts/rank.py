# -*- test-case-name: tests.scripts.test_rank -*-
"""The process of one rank, which a supervisor starts: see :mod:`vllmsim.processes.children`.

It ends when it is asked to, having finished what it does, or at once when its standard input ends, as that means that
the supervisor is gone. Signals beyond the first change nothing: a terminal or an init system may send one to every
process of a group, and the supervisor sends its own.
"""

import os
import sys
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Final, cast

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogBeginner

from vllmsim.announcing import Load
from vllmsim.config.live import LiveConfiguration
from vllmsim.daemon import RANKS, serve
from vllmsim.logs.destination import output_of
from vllmsim.logs.levels import LevelGate
from vllmsim.logs.relay import Relay
from vllmsim.processes.assignment import Assignment
from vllmsim.processes.children import READY_DESCRIPTOR
from vllmsim.processes.remote import RemoteConfigurations
from vllmsim.processes.wire import ASKING, TOLD, Wire

if TYPE_CHECKING:
    from vllmsim.service import RankServices

_log = Logger()

_STANDARD_INPUT: Final = 0


def main() -> None:
    """Run the rank that standard input tells of.

    :raises SystemExit: when it tells of none, or the rank cannot be.
    """
    try:
        assignment = Assignment.read(sys.stdin.buffer)
    except EOFError:
        raise SystemExit("vllmsim: this is a part of it; start it as `vllmsim --data-parallel-processes`") from None
    # In a thread, because it must end too when the reactor is busy, or does not run yet.
    Thread(target=_leave_with_supervisor, daemon=True).start()
    live = LiveConfiguration(assignment.configuration)
    from twisted.internet import reactor, stdio  # noqa: PLC0415 - the reactor is installed by this

    observer = LevelGate(Relay(output_of(sys.stdout, reactor), assignment.rank), [live])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)

    configurations = RemoteConfigurations(live, reactor)
    tree = serve({assignment.rank: live}, configurations, assignment.seed, leave=None, trusted=assignment.trusted)
    _report(tree, configurations.wire, assignment.report, reactor)
    # That of another system has no other descriptors.
    stdio.StandardIO(configurations.wire, TOLD, ASKING, reactor)  # type: ignore[call-arg]
    tree.privilegedStartService()
    tree.startService()
    reactor.addSystemEventTrigger("before", "shutdown", tree.stopService)
    reactor.callWhenRunning(_say_that_it_listens)
    reactor.run()


def _report(tree: MultiService, wire: Wire, interval: float, clock: IReactorTime) -> None:
    """Tell the supervisor at an interval what the rank has to do, when that is something else; 0 for never."""
    told: list[Load] = []

    def tell() -> None:
        load = cast("RankServices", tree.getServiceNamed(RANKS)).load()
        if told != [load]:
            told[:] = [load]
            wire.send(load=[load.running, load.waiting])

    if interval:
        loop = LoopingCall(tell)
        loop.clock = clock
        loop.start(interval, now=False).addErrback(lambda reason: _log.failure("The load is told no more.", reason))


def _leave_with_supervisor(descriptor: int = _STANDARD_INPUT, leave: Callable[[int], object] = os._exit) -> None:
    """Wait until the supervisor is gone."""
    os.read(descriptor, 1)
    leave(1)


def _say_that_it_listens(descriptor: int = READY_DESCRIPTOR) -> None:
    os.write(descriptor, b"\n")
    os.close(descriptor)


if __name__ == "__main__":
    main()
