"""The pacer: absolute deadlines, one loop, no lost token."""

from attrs import define
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import Ticker
from vllmsim.clocks.scaled import ScaledClock
from vllmsim.clocks.virtual import VirtualClock
from vllmsim.scheduling.pacing import QUANTUM, TokenPacer


@define(eq=False)
class Greedy:
    """Always has more that is due, and takes a millisecond to emit a part of it."""

    clock: Clock
    number: int
    left: int
    emitted: list[int]

    def emit(self, _now: float) -> float | None:
        """Emit a part."""
        self.clock.rightNow += 0.001
        self.emitted.append(self.number)
        self.left -= 1
        return 0.0 if self.left else None

    def fail(self, reason: Failure) -> None:
        """Raise: nothing fails here."""
        reason.raiseException()


class PacerTests(SynchronousTestCase):
    """When emissions happen."""

    def setUp(self) -> None:
        """Start a pacer that counts its ticks."""
        self.clock = Clock()
        self.ticks = 0
        self.pacer = TokenPacer(self.clock, self.count)
        self.pacer.start()

    def count(self) -> None:
        """Count a tick."""
        self.ticks += 1

    def add(self, *gaps: float, due: float = 0.0) -> Ticker:
        """Add an emitter."""
        ticker = Ticker(self.clock, list(gaps), due)
        self.pacer.add(due, ticker)
        return ticker

    def test_varying_gaps(self) -> None:
        """Gaps that differ are kept exactly, whatever the gap before was."""
        ticker = self.add(0.020, 0.035, 0.011)
        self.clock.pump([0.001] * 80)
        self.assertEqual([0.001, 0.02, 0.055, 0.066], ticker.emitted)

    def test_faster(self) -> None:
        """Where simulated time goes faster, as few ticks of the machine's time emit as much more of it."""
        scaled = ScaledClock(self.clock, 10.0)
        self.pacer = TokenPacer(scaled, self.count)
        self.pacer.start()
        tickers = [self.add(due=1.0 + offset * QUANTUM * 10.0) for offset in (0, 0.25, 0.5, 0.75)]
        self.clock.pump([0.1 - QUANTUM] + [QUANTUM / 4] * 16)
        self.assertEqual(([1] * 4, 2), ([len(ticker.emitted) for ticker in tickers], self.ticks))
        self.pacer.stop()

    def test_still(self) -> None:
        """Where it stands still everything is emitted at its very time, however near that is to another's."""
        virtual = VirtualClock(self.clock)
        self.pacer = TokenPacer(virtual, self.count)
        self.pacer.start()
        for offset in (0, 0.25, 0.5, 0.75):
            self.pacer.add(0.1 + offset * QUANTUM, ticker := Ticker(self.clock, [], 0.1))
            virtual.move(0.1 + offset * QUANTUM)
            self.clock.advance(0)
            self.assertEqual(1, len(ticker.emitted))
        self.assertEqual(4, self.ticks)
        self.pacer.stop()

    def test_catches_up(self) -> None:
        """After a stall everything due comes at once, and later deadlines stay where they were."""
        ticker = self.add(*[0.02] * 12)
        self.clock.advance(0.205)
        self.assertEqual([0.205] * 11, ticker.emitted)
        self.clock.advance(0.015)
        self.assertEqual(0.22, ticker.emitted[-1])

    def test_one_tick_for_neighbours(self) -> None:
        """What becomes due shortly after a tick is emitted together, none of it early and none later than a quantum."""
        gaps = [3 * QUANTUM] * 4
        tickers = [self.add(*gaps, due=0.1 + offset * QUANTUM) for offset in (0, 0.25, 0.5, 0.75)]
        step = QUANTUM / 16
        self.clock.pump([0.1 - QUANTUM] + [step] * 16 * 16)
        self.assertEqual([5] * 4, [len(ticker.emitted) for ticker in tickers])
        self.assertEqual(10, self.ticks)
        for number, ticker in enumerate(tickers):
            due = [0.1 + (number / 4 + 3 * k) * QUANTUM for k in range(5)]
            late = [emitted - each for emitted, each in zip(ticker.emitted, due, strict=True)]
            self.assertTrue(all(-1e-6 < each < QUANTUM + 2 * step for each in late), late)
        self.pacer.stop()

    def test_alone(self) -> None:
        """A sequence whose deadlines are far from others' is never late."""
        gap = 1 / 1024
        ticker = self.add(*[gap] * 3, due=gap)
        self.clock.pump([gap / 8] * 8 * 4)
        self.assertEqual([round(gap * number, 6) for number in (1, 2, 3, 4)], ticker.emitted)

    def test_due_when_it_comes(self) -> None:
        """A sequence that is due when it comes waits for no quantum."""
        for _ in range(3):
            ticker = self.add(due=self.clock.seconds())
            self.clock.advance(0)
            self.assertEqual([round(self.clock.seconds(), 6)], ticker.emitted)
            self.clock.advance(QUANTUM / 4)

    def test_due_when_it_comes_in_a_tick(self) -> None:
        """Nor does one that comes while others emit, as the next request of a client may."""
        tickers = []

        def come() -> None:
            self.clock.rightNow += QUANTUM / 4
            tickers.append(self.add(due=self.clock.seconds()))

        self.add(due=0.1).leave = come
        self.clock.advance(0.1)
        [ticker] = tickers
        self.assertEqual([round(0.1 + QUANTUM / 4, 6)], ticker.emitted)

    def test_catch_up(self) -> None:
        """When something has kept the reactor busy, what is late, and nothing else, is emitted before its next turn."""
        late, soon = self.add(1.0, due=0.1), self.add(due=0.1 + 3 * QUANTUM)
        late.leave = self.pacer.catch_up
        self.pacer.catch_up()
        self.clock.rightNow = 0.1 + QUANTUM / 2
        self.pacer.catch_up()
        self.assertEqual([], late.emitted)
        self.clock.rightNow = 0.1 + 2 * QUANTUM
        self.pacer.freeze()
        self.pacer.catch_up()
        self.assertEqual([], late.emitted)
        self.pacer.thaw()
        self.pacer.catch_up()
        self.assertEqual((1, 0), (len(late.emitted), len(soon.emitted)))
        self.clock.advance(2 * QUANTUM)
        self.assertEqual(1, len(soon.emitted))
        self.clock.advance(1)
        self.assertEqual(2, len(late.emitted))
        self.pacer.catch_up()

    def test_turn_and_turn_about(self) -> None:
        """Sequences that have more due than they may emit at once take turns, whoever came first."""
        emitted: list[int] = []
        for number in range(4):
            self.pacer.add(0.0, Greedy(self.clock, number, 5, emitted))
        self.clock.advance(0)
        self.assertEqual([0, 1, 2, 3] * 5, emitted)

    def test_greed_holds_nobody_up(self) -> None:
        """A sequence that becomes due while others have much to emit comes before their next turn."""
        emitted: list[int] = []
        for number in range(4):
            self.pacer.add(0.0, Greedy(self.clock, number, 50, emitted))
        soon = self.add(due=0.01)
        soon.leave = lambda: emitted.append(-1)
        self.clock.advance(0)
        self.assertIn(emitted.index(-1), range(10, 20))

    def test_earlier_deadline(self) -> None:
        """A sequence that comes later and is due earlier is not kept waiting."""
        late = self.add(due=1.0)
        soon = self.add(due=0.1)
        self.clock.advance(0.1)
        self.assertEqual(([], [0.1]), (late.emitted, soon.emitted))

    def test_idle(self) -> None:
        """An idle pacer has no timer."""
        self.assertEqual([], self.clock.getDelayedCalls())
        self.add()
        self.clock.advance(0)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_freeze(self) -> None:
        """While it is frozen nothing is emitted and no timer set; then every deadline is as far away as it was."""
        early, late = self.add(0.5, 0.5, due=0.5), self.add(due=3.0)
        self.clock.advance(0.75)
        self.pacer.freeze()
        self.pacer.freeze()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.clock.advance(100)
        self.assertEqual(([0.75], 0.75), (early.emitted, self.pacer.seconds()))
        self.pacer.thaw()
        self.pacer.thaw()
        self.clock.advance(0.2)
        self.assertEqual(([0.75], 100), (early.emitted, self.pacer.held))
        self.clock.pump([0.1] * 30)
        self.assertEqual([0.75, 1.05, 1.55], early.emitted)
        self.assertEqual(1, len(late.emitted))
        self.pacer.freeze()
        self.clock.advance(1)
        self.pacer.thaw()
        self.assertEqual(101, self.pacer.held)

    def test_add_while_frozen(self) -> None:
        """What comes while it is frozen waits for the thaw, even if it is due."""
        self.pacer.freeze()
        ticker = self.add()
        self.clock.advance(1)
        self.assertEqual([], ticker.emitted)
        self.pacer.thaw()
        self.clock.advance(0)
        self.assertEqual([0.0], ticker.emitted)

    def test_freeze_within_a_tick(self) -> None:
        """An emitter that freezes the pacer is the last to emit."""
        first, second = self.add(due=0.1), self.add(due=0.1)
        first.leave = self.pacer.freeze
        self.clock.advance(1)
        self.assertEqual((1, 0), (len(first.emitted), len(second.emitted)))
        self.pacer.thaw()
        self.clock.advance(0)
        self.assertEqual(1, len(second.emitted))

    def test_stop_while_frozen(self) -> None:
        """It can be stopped while it is frozen."""
        ticker = self.add()
        self.pacer.freeze()
        self.pacer.stop()
        self.clock.advance(1)
        self.assertEqual(([], []), (ticker.emitted, self.clock.getDelayedCalls()))

    def test_rounding(self) -> None:
        """A deadline that rounding keeps a hair ahead of the clock has come: nobody waits for it for ever."""
        self.clock.advance(0.5)
        self.pacer.freeze()
        self.clock.advance(10)
        self.pacer.thaw()
        ticker = self.add(0.1, due=1.0)
        self.clock.pump([0.5, 0.1])
        self.assertEqual(2, len(ticker.emitted))

    def test_discard(self) -> None:
        """A place that is given back emits no more, and takes its timer along; twice is harmless."""
        ticker = Ticker(self.clock, [], 1.0)
        other = self.add(due=2.0)
        place = self.pacer.add(1.0, ticker)
        self.pacer.discard(place)
        self.pacer.discard(place)
        self.clock.advance(2)
        self.assertEqual(([], [2.0]), (ticker.emitted, other.emitted))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_discard_behind_another(self) -> None:
        """A place that is given back while another is due first is passed over when its time comes."""
        self.add(due=0.5)
        ticker = Ticker(self.clock, [], 0.5)
        self.pacer.discard(self.pacer.add(0.5, ticker))
        self.clock.advance(1)
        self.assertEqual([], ticker.emitted)

    def test_discard_during_emission(self) -> None:
        """A place that is given back while it emits does not come back."""
        ticker = Ticker(self.clock, [0.1, 0.1])
        place = self.pacer.add(0.0, ticker)
        ticker.leave = lambda: self.pacer.discard(place)
        self.clock.pump([0.0, 0.1, 0.1])
        self.assertEqual(1, len(ticker.emitted))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_error(self) -> None:
        """An emitter that raises is told, and stops no other."""
        broken, sound = self.add(0.1), self.add(0.1)
        broken.error = RuntimeError("broken")
        self.clock.pump([0.0, 0.1])
        self.assertEqual(2, len(sound.emitted))
        [failure] = broken.failed
        failure.trap(RuntimeError)

    def test_yields(self) -> None:
        """A tick that takes long lets other events in, and goes on right after."""
        tickers = [Ticker(self.clock, [], 0.0, slow=0.001) for _ in range(100)]
        for ticker in tickers:
            ticker.gaps = [1.0]
            self.pacer.add(0.0, ticker)
        self.clock.advance(0)
        self.assertTrue(all(ticker.emitted for ticker in tickers))
        self.assertGreater(self.ticks, 30)
        self.pacer.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop(self) -> None:
        """A stopped pacer emits nothing and has no timer; it can be stopped again."""
        ticker = self.add(due=1.0)
        self.pacer.stop()
        self.pacer.stop()
        self.clock.advance(2)
        self.assertEqual([], ticker.emitted)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.pacer.start()
        self.clock.advance(1)
        self.assertEqual([], ticker.emitted)

    def test_stop_in_mid_turn(self) -> None:
        """A pacer that has let others in before it goes on can be stopped."""
        tickers = [Ticker(self.clock, [], slow=0.01) for _ in range(3)]
        for ticker in tickers:
            ticker.gaps = [1.0]
            self.pacer.add(0.0, ticker)
        tickers[0].leave = lambda: self.clock.callLater(0, self.pacer.stop)
        self.clock.advance(0)
        self.assertEqual([1, 0, 0], [len(ticker.emitted) for ticker in tickers])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop_before_the_restart(self) -> None:
        """A pacer whose loop has failed can be stopped before it starts again."""
        self.ticks = -1
        pacer = TokenPacer(self.clock, self.fail_once)
        pacer.start()
        ticker = Ticker(self.clock, [])
        ticker.leave = lambda: self.clock.callLater(0, pacer.stop)
        pacer.add(0.0, ticker)
        self.clock.advance(0)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assertEqual([], self.clock.getDelayedCalls())
        late = Ticker(self.clock, [])
        pacer.add(0.0, late)
        self.clock.advance(1)
        self.assertEqual([], late.emitted)

    def test_discard_moves_the_alarm(self) -> None:
        """When the place that is due first is given back, the timer is set for the next."""
        place = self.pacer.add(1.0, Ticker(self.clock, []))
        self.add(due=2.0)
        self.pacer.discard(place)
        self.assertEqual([2.0], [call.getTime() for call in self.clock.getDelayedCalls()])

    def test_restarts(self) -> None:
        """A pacer whose own loop fails is started again, and the log says so."""
        self.ticks = -1
        pacer = TokenPacer(self.clock, self.fail_once)
        pacer.start()
        first, second = Ticker(self.clock, []), Ticker(self.clock, [], 1.0)
        pacer.add(0.0, first)
        self.clock.advance(0)
        [failure] = self.flushLoggedErrors(RuntimeError)
        self.assertIn("once", str(failure))
        pacer.add(1.0, second)
        self.clock.advance(1)
        self.assertEqual([1.0], second.emitted)
        pacer.stop()

    def fail_once(self) -> None:
        """Fail at the first tick."""
        self.ticks += 1
        if not self.ticks:
            raise RuntimeError("once")
