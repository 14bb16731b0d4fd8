"""A daemon that bears whatever it is sent, and is looked at meanwhile and afterwards.

A surface is a class of :class:`FuzzTestCase` with one test::

    class ReplayTests(FuzzTestCase):
        surface = "msgpack replay"
        words = (*FuzzTestCase.words, "--enable-kvcache")

        def test_survives(self) -> None:
            '''Whatever a subscriber sends, others are served.'''
            self.fuzz(150, self.one)

        def one(self, chance: Random, number: int) -> None:
            reply = self.send(chance.randbytes(chance.randrange(100)))
            if reply is None:
                raise Refused

Its row in ``tests.fuzz.report.SURFACES`` names it, its module and its share of ``make fuzz``. A case that is refused as
it should be raises :class:`tests.fuzz.report.Refused`; any other exception is a finding, and so is a fault in the log.
Surfaces that need no daemon call :func:`tests.fuzz.report.play` themselves.
"""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from random import Random
from typing import ClassVar, Final

from tests.fuzz.report import Figures, cases, play
from tests.integration.daemon import PATIENCE, DaemonTestCase, until

FAULTS: Final = re.compile(r".*(?:Traceback|Unhandled|#critical).*")
"""What a line of the log has that tells of a fault."""
_WARM: Final = 4
"""One of how many cases come before memory is looked at for the first time."""


class FuzzTestCase(DaemonTestCase):
    """Tests that send a daemon what nobody should."""

    surface: ClassVar[str]
    """Its name in ``tests.fuzz.report.SURFACES``."""
    words: tuple[str, ...] = ("--model", "m", "--max-num-seqs", "16")
    most_growth: ClassVar[int] = 32 * 1024
    """KiB by which resident memory may grow between the first quarter of the cases and their end."""

    patience = PATIENCE
    """Seconds in which what is left of the cases must be gone."""

    def fuzz(self, default: int, case: Callable[[Random, int], object]) -> Figures:
        """Play the surface's cases, and hold that the daemon has survived them: see :meth:`survived`.

        :param default: how many there are when nobody has asked for more.
        :param case: plays one, given what decides about it and its number.
        """
        self._read = 0
        self.complete()
        self.warm_up()
        self.resident, self.descriptors = self.daemon.resident(), self.daemon.descriptors()
        warm = cases(self.surface, default) // _WARM

        def look() -> None:
            nonlocal warm
            self.look()
            warm -= 1
            if warm == 0:
                self.resident = self.daemon.resident()

        figures = play(self.surface, default, case, look=look)
        self.survived(figures)
        return figures

    def warm_up(self) -> None:
        """Make the daemon as large as it may be, before memory is looked at for the first time."""

    def look(self) -> None:
        """Hold that the daemon lives and that its log tells of no fault since it was last looked at.

        What is told late is found behind a later case: the one at fault may be a little before.
        """
        if self.daemon.process.poll() is not None:
            raise AssertionError(f"the daemon has ended:\n{self.daemon.output()[-4000:]}")
        file = self.daemon.log.fileno()
        size = os.fstat(file).st_size
        if size > self._read:
            text = os.pread(file, size - self._read, self._read).decode("utf-8", "replace")
            self._read = size
            if FAULTS.search(text):
                raise AssertionError(f"the log tells of a fault, of this case or one just before:\n{text[-4000:]}")

    def survived(self, figures: Figures) -> None:
        """Hold that nothing is left of what was played, and that there are no findings; print the surface's line.

        The log tells of no fault, another request is served, no sequence runs or waits, no descriptor is open that was
        not before, and resident memory has grown by no more than :attr:`most_growth` since the first cases.
        """
        self.complete()
        growth = self.daemon.resident() - self.resident
        figures.notes = f"resident {growth:+} KiB{figures.notes and ', '}{figures.notes}"
        figures.tell()
        self.look()
        self.settle(lambda: self.daemon.under_way() == 0, "sequences still run or wait")
        self.settle(lambda: self.daemon.descriptors() <= self.descriptors, "descriptors are still open")
        self.assertLess(growth, self.most_growth, "KiB more are resident")

    def settle(self, done: Callable[[], bool], otherwise: str) -> None:
        """Wait until something is so."""
        until(done, lambda: otherwise, self.patience)

    def complete(self) -> None:
        """Have an ordinary request served, on a connection of its own."""
        body = json.dumps({"prompt": "Hello!", "max_tokens": 5, "ignore_eos": True}).encode()
        request = urllib.request.Request(self.daemon.url("/v1/completions"), body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"an ordinary request is answered {error.code}: {error.read()!r}") from None
        self.assertEqual(5, answer["usage"]["completion_tokens"])
