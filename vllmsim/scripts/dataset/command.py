# -*- test-case-name: tests.scripts.dataset.test_command -*-
"""The command: words in, three files out, and a line for what went wrong."""

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from vllmsim.printing import print_out
from vllmsim.scripts.dataset.faults import BuildError, UsageError
from vllmsim.scripts.dataset.options import Plan, plan
from vllmsim.scripts.dataset.progress import Progress
from vllmsim.scripts.dataset.work import Work

_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130


def main() -> None:
    """Follow the words of the command line.

    :raises SystemExit: always.
    """
    try:
        run(sys.argv[1:])
    except KeyboardInterrupt:
        # Before there was a reactor to interrupt.
        raise SystemExit(_INTERRUPTED) from None


def run(words: Sequence[str]) -> None:
    """Follow the words of a command line.

    :param words: everything behind the command's name.
    :raises SystemExit: always, with the exit status.
    """
    try:
        what = plan(words, os.environ)
    except UsageError as error:
        raise SystemExit(_complain(error, _USAGE)) from None
    react(_work, (what,))


async def _work(reactor: Any, what: Plan) -> None:
    """Do the work while the reactor runs, and undo it when that stops before."""
    progress = Progress(sys.stderr, reactor.seconds)
    defer_to_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    work = Deferred.fromCoroutine(Work(what, os.environ, reactor, defer_to_thread, progress).run())
    ended: Deferred[None] = Deferred()

    @provider(ILogObserver)
    def tell(event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("vllmsim."):
            progress.say(formatEvent(event))

    def leave() -> Deferred[None]:
        work.cancel()
        return ended

    reactor.addSystemEventTrigger("before", "shutdown", leave)
    globalLogPublisher.addObserver(tell)
    # The reactor itself knows the two other signals that ask for an end.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reactor.stop))
    try:
        lines = await work
    except (UsageError, BuildError) as error:
        progress.clear()
        raise SystemExit(_complain(error, _USAGE if isinstance(error, UsageError) else _FAILED)) from None
    except CancelledError:
        progress.clear()
        raise SystemExit(_complain("interrupted; nothing was made", _INTERRUPTED)) from None
    finally:
        globalLogPublisher.removeObserver(tell)
        ended.callback(None)
    if unprinted := print_out("".join(f"{line}\n" for line in lines), "vllmsim-dataset"):
        raise SystemExit(unprinted)


def _complain(problem: object, status: int) -> int:
    sys.stderr.write(f"vllmsim-dataset: {problem}\n")
    return status
