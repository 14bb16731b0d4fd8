"""The configurations of ranks in processes: the supervisor has them, and ranks ask."""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.commandline import load_words
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.errors import Conflict, InvalidRequest, Unavailable
from vllmsim.interfaces import IConfigurations
from vllmsim.processes.authority import PATIENCE, ConfigurationAuthority
from vllmsim.processes.remote import RemoteConfigurations
from vllmsim.processes.wire import Wire


class Process:
    """A rank's process, as far as its configuration goes. What it says and hears comes when :meth:`pump` is called."""

    def __init__(self, rank: int, authority: ConfigurationAuthority, clock: Clock) -> None:
        self.live = LiveConfiguration(authority.current(rank))
        self.remote = RemoteConfigurations(self.live, clock)
        self.ends: tuple[Wire, Wire] = (authority.link(rank), self.remote.wire)
        self.pipes = StringTransport(), StringTransport()
        for end, pipe in zip(self.ends, self.pipes, strict=True):
            end.makeConnection(pipe)

    def pump(self) -> bool:
        """Let go through what is in the pipes, and tell whether there was anything."""
        contents = [pipe.value() for pipe in self.pipes]
        for pipe in self.pipes:
            pipe.clear()
        for end, data in zip(reversed(self.ends), contents, strict=True):
            end.dataReceived(data)
        return any(contents)


class AuthorityTests(SynchronousTestCase):
    """Two ranks that listen."""

    def setUp(self) -> None:
        """Start them."""
        self.clock = Clock()
        loaded = load_words(["-dp", "2", "--time-to-first-token", "1s"], {})
        self.lives = {rank: LiveConfiguration(loaded.configuration) for rank in range(2)}
        self.authority = ConfigurationAuthority(LiveConfigurations(self.lives, loaded, lambda: 5.0), self.clock)
        self.processes = [Process(rank, self.authority, self.clock) for rank in range(2)]
        for rank in range(2):
            self.authority.listening(rank)

    def pump(self) -> None:
        """Let everything go through."""
        while sum(process.pump() for process in self.processes):
            pass

    def ask(self, coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Ask, and let everything go through."""
        asked = Deferred.fromCoroutine(coroutine)
        self.pump()
        return asked

    def times(self) -> list[float]:
        """See what holds in the processes."""
        return [process.live.current.time_to_first_token for process in self.processes]

    def test_interface(self) -> None:
        """A rank's process changes configurations as if it had them."""
        verifyObject(IConfigurations, self.processes[0].remote)

    def test_change(self) -> None:
        """A change that one rank is asked for holds for all when it is answered, or for the one that is named."""
        remote = self.processes[1].remote
        self.successResultOf(self.ask(remote.change({"time-to-first-token": "2s"}, None, "me")))
        self.assertEqual([2.0, 2.0], self.times())
        self.successResultOf(self.ask(remote.change({"time-to-first-token": "3s"}, 0, "me")))
        self.assertEqual([3.0, 2.0], self.times())
        shown = self.successResultOf(self.ask(remote.describe(0)))
        self.assertEqual(("3s", 0), (shown["time-to-first-token"], shown["data-parallel-rank"]))

    def test_undo_and_history(self) -> None:
        """Any rank may undo what any was asked for, and knows of all that was done."""
        first, second = (process.remote for process in self.processes)
        self.successResultOf(self.ask(first.change({"time-to-first-token": "2s"}, None, "me", step=True)))
        self.successResultOf(self.ask(first.change({"time-to-first-token": "4s"}, None, "me", step=True)))
        self.successResultOf(self.ask(second.undo("you")))
        self.assertEqual([1.0, 1.0], self.times())
        history = self.successResultOf(self.ask(first.history()))
        self.assertEqual([("you", "undo"), ("me", "change")], [(each["who"], each["what"]) for each in history])
        failure = self.failureResultOf(self.ask(first.undo("me")), Conflict)
        self.assertEqual("There is no change of the configuration to undo.", failure.value.message)

    def test_refused(self) -> None:
        """What is wrong is told as it would be in one process, and changes nothing."""
        error = self.failureResultOf(
            self.ask(self.processes[0].remote.change({"port": 1}, None, "me")), InvalidRequest
        ).value
        self.assertEqual(("field 'port' is not admin-configurable", "port"), (error.message, error.param))
        self.failureResultOf(self.ask(self.processes[0].remote.describe(7)), InvalidRequest)
        self.assertEqual([1.0, 1.0], self.times())

    def test_waits_for_all(self) -> None:
        """The answer comes when the last rank has what was changed."""
        asked = Deferred.fromCoroutine(self.processes[0].remote.change({"time-to-first-token": "2s"}, None, "me"))
        for _ in range(5):
            self.processes[0].pump()
        self.assertEqual([2.0, 1.0], self.times())
        self.assertNoResult(asked)
        self.pump()
        self.successResultOf(asked)
        self.assertEqual([2.0, 2.0], self.times())

    def test_too_slow(self) -> None:
        """A rank that does not take it in time is named; it has it when it goes on."""
        asked = Deferred.fromCoroutine(self.processes[0].remote.change({"time-to-first-token": "2s"}, None, "me"))
        for _ in range(3):
            self.processes[0].pump()
        self.clock.advance(PATIENCE)
        self.processes[0].pump()
        message = self.failureResultOf(asked, Unavailable).value.message
        self.assertIn("rank 1 has not taken it within 5 s", message)
        self.pump()
        self.assertEqual([2.0, 2.0], self.times())

    def test_ends(self) -> None:
        """Nobody waits for a rank whose process has ended, or does not listen yet; it is told what holds by then."""
        asked = Deferred.fromCoroutine(self.processes[0].remote.change({"time-to-first-token": "2s"}, None, "me"))
        self.processes[0].pump()
        self.authority.unlink(1)
        self.authority.unlink(1)
        self.processes.pop()
        self.successResultOf(self.ask(self.processes[0].remote.change({"failure-injection-rate": 1}, 1, "me")))
        while self.processes[0].pump():
            pass
        self.successResultOf(asked)
        self.processes.append(Process(1, self.authority, self.clock))
        self.assertEqual([2.0, 2.0], self.times())
        asked = Deferred.fromCoroutine(self.processes[0].remote.change({"time-to-first-token": "3s"}, None, "me"))
        while self.processes[0].pump():
            pass
        self.successResultOf(asked)
        self.pump()
        self.assertEqual([3.0, 3.0], self.times())

    def test_reload(self) -> None:
        """What the sources say anew is told to all."""
        loaded = load_words(["-dp", "2", "--time-to-first-token", "9s"], {})
        self.successResultOf(self.ask(self.authority.reload(loaded, "SIGHUP")))
        self.assertEqual([9.0, 9.0], self.times())

    def test_supervisor_stuck(self) -> None:
        """A supervisor that does not answer is waited for no longer than a while, and its late answer is harmless."""
        asked = Deferred.fromCoroutine(self.processes[0].remote.history())
        self.clock.advance(PATIENCE + 2)
        self.failureResultOf(asked, Unavailable)
        self.pump()

    def test_breaks(self) -> None:
        """What goes wrong in the supervisor is in its log."""
        self.processes[0].remote.wire.send(ask=1, method="__init__", arguments={})
        self.pump()
        self.assertEqual(1, len(self.flushLoggedErrors(AssertionError)))
