"""The waiting queue: who is next, whatever adapters are there."""

import random
from collections import Counter
from typing import Any

from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FixedLatency, GivenAdapters, RecordingSink, adapter_of, request_for
from vllmsim.errors import QueueFull
from vllmsim.inference import HashedPrompt, TextPrompt, TokenizedPrompt
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.sequence import Sequence, Submission
from vllmsim.scheduling.waiting import FEWEST_OVERTAKEN, WaitingQueue

PROMPT = TokenizedPrompt(TextPrompt("x"), "x", [1], ["x"])
BEHAVIOUR = Behaviour(FixedLatency())


def sequence_of(adapter: int = 0, priority: int = 0) -> Sequence:
    """Make a sequence of an adapter, or of the base model if that is 0."""
    asked = evolve(request_for("x"), adapter=adapter_of(f"a{adapter}") if adapter else None, priority=priority)
    submission = Submission(asked, [PROMPT], RecordingSink(), BEHAVIOUR)
    return Sequence(submission, 0, PROMPT, HashedPrompt([1]), 16, random.Random(1), 0.0, lambda _: None, lambda _: None)


class WaitingQueueTests(SynchronousTestCase):
    """First come, first served, as far as adapters let them."""

    def setUp(self) -> None:
        """Make a queue before two slots, and one slot for adapters."""
        self.limits = RankLimits(2, 2)
        self.adapters = GivenAdapters()
        self.queue = WaitingQueue(lambda: self.limits, self.adapters)

    def put(self, *adapters: int) -> list[Sequence]:
        """Have sequences wait."""
        sequences = [sequence_of(adapter) for adapter in adapters]
        for sequence in sequences:
            self.queue.put(sequence)
        return sequences

    def test_order(self) -> None:
        """Sequences of the base model leave in the order in which they came."""
        first, second = self.put(0, 0)
        self.assertEqual((True, 2), (self.queue.runnable(), len(self.queue)))
        self.assertEqual([first, second, None], [self.queue.take() for _ in range(3)])
        self.assertEqual((False, 0), (self.queue.runnable(), len(self.queue)))

    def test_bound(self) -> None:
        """The bound counts those who would have to wait, not those for whom a slot is free."""
        self.queue.require_room(3, None, running=1)
        self.assertRaises(QueueFull, self.queue.require_room, 4, None, 1)
        self.put(0, 0)
        error = self.assertRaises(QueueFull, self.queue.require_room, 1, None, 2)
        self.assertEqual("Failed to enqueue request, waiting requests queue is full", error.message)
        self.limits = RankLimits(2, 3)
        self.queue.require_room(1, None, 2)
        self.queue.require_room(1, None, 7)

    def test_bound_of_those_who_cannot_run(self) -> None:
        """Who cannot run waits, whatever slots are free; who can does not wait behind those who cannot."""
        self.adapters.occupy(adapter_of("a1"))
        self.put(2, 3)
        self.assertRaises(QueueFull, self.queue.require_room, 1, adapter_of("a2"), 0)
        for adapter in (None, adapter_of("a1")):
            self.queue.require_room(2, adapter, 0)
            self.assertRaises(QueueFull, self.queue.require_room, 3, adapter, 0)
        self.adapters.slots = 2
        self.queue.require_room(2, adapter_of("a4"), 0)

    def test_discard(self) -> None:
        """A sequence can leave from anywhere, once; with the last of its adapter nobody waits for that."""
        first, second, third, fourth = self.put(0, 0, 1, 1)
        self.assertEqual((True, False), (self.queue.discard(second), self.queue.discard(second)))
        self.assertFalse(self.queue.discard(sequence_of(7)))
        self.assertTrue(self.queue.discard(third))
        self.assertEqual([], self.adapters.settled)
        self.assertTrue(self.queue.discard(fourth))
        self.assertEqual((["a1"], 1), (self.adapters.settled, len(self.queue)))
        self.assertIs(first, self.queue.take())

    def test_loaded_first(self) -> None:
        """Those whose adapter is there, or who need none, come before those whose adapter would have to be loaded."""
        self.adapters.slots, self.adapters.ready = 2, 7.5
        self.adapters.occupy(adapter_of("a1"))
        other, base, there, another = self.put(2, 0, 1, 3)
        self.assertEqual(0, self.queue.deferred)
        self.assertEqual([base, there, other, None], [self.queue.take() for _ in range(4)])
        self.assertEqual((0.0, 7.5), (base.ready, other.ready))
        self.assertEqual((1, 1), (self.queue.deferred, len(self.queue)))
        self.queue.release(other)
        self.assertEqual((0, another), (self.queue.deferred, self.queue.take()))
        self.assertEqual({"a1": 2, "a3": 1}, self.adapters.users)

    def test_newcomers(self) -> None:
        """Who comes may start at once if nobody comes before it, and its adapter is there or can be loaded."""
        self.assertTrue(self.queue.admit(sequence_of()))
        self.assertTrue(self.queue.admit(sequence_of(1)))
        self.assertTrue(self.queue.admit(sequence_of(1)))
        self.assertFalse(self.queue.admit(sequence_of(2)))
        self.put(2)
        self.assertEqual([True, True, False], [self.queue.admit(sequence_of(adapter)) for adapter in (0, 1, 3)])
        self.put(1)
        self.assertEqual([False, False], [self.queue.admit(sequence_of(adapter)) for adapter in (0, 1)])

    def test_turn(self) -> None:
        """After so many who overtake it, an adapter's turn has come: nobody starts who would keep the slot in use."""
        holder, hand = sequence_of(1), sequence_of(1)
        self.assertTrue(self.queue.admit(holder))
        [first] = self.put(2)
        for number in range(FEWEST_OVERTAKEN):
            self.assertTrue(self.queue.admit(hand if number == 1 else sequence_of(1 if number % 2 else 0)))
        self.assertFalse(self.queue.admit(sequence_of(1)))
        blocked, base = self.put(1, 0)
        self.assertEqual([base, None], [self.queue.take(), self.queue.take()])
        self.assertTrue(self.queue.admit(sequence_of()))
        while self.adapters.users["a1"] > 1:
            self.queue.release(hand)
        self.assertIsNone(self.queue.take())
        self.queue.release(holder)
        [late] = self.put(0)
        self.assertEqual([first, late, None], [self.queue.take() for _ in range(3)])
        self.queue.release(first)
        self.assertIs(blocked, self.queue.take())

    def test_turn_of_one_who_could_be_loaded(self) -> None:
        """Base sequences that come without end do not keep an adapter out that could be loaded."""
        [first] = self.put(1)
        taken = []
        for _ in range(FEWEST_OVERTAKEN + 1):
            self.put(0)
            taken.append(self.queue.take())
        self.assertEqual([FEWEST_OVERTAKEN], [number for number, each in enumerate(taken) if each is first])

    def test_slots_say_how_often(self) -> None:
        """With many slots an adapter is overtaken as often as there are slots, so that its turn is worth it."""
        self.limits = RankLimits(100)
        self.assertTrue(self.queue.admit(sequence_of(1)))
        self.put(2)
        self.assertEqual([True] * 100 + [False], [self.queue.admit(sequence_of(1)) for _ in range(101)])

    def test_who_leaves_gives_up_its_turn(self) -> None:
        """When the one whose turn has come leaves, the others go on."""
        self.assertTrue(self.queue.admit(sequence_of(1)))
        [first] = self.put(2)
        for _ in range(FEWEST_OVERTAKEN):
            self.assertTrue(self.queue.admit(sequence_of(1)))
        [blocked] = self.put(1)
        self.assertFalse(self.queue.runnable())
        self.queue.discard(first)
        self.assertIs(blocked, self.queue.take())

    def test_priority(self) -> None:
        """With priorities the lowest number is first, and then the order of coming."""
        self.queue = WaitingQueue(lambda: self.limits, self.adapters, by_priority=True)
        self.adapters.occupy(adapter_of("a1"))
        asked = ((0, 0), (1, 5), (0, -3), (1, 0), (0, 0), (1, -3))
        sequences = [sequence_of(*each) for each in asked]
        for sequence in sequences:
            self.queue.put(sequence)
        order = [sequences[number] for number in (2, 5, 0, 3, 4, 1)]
        self.assertEqual([*order, None], [self.queue.take() for _ in range(7)])

    def test_priority_and_adapters(self) -> None:
        """An adapter that can be loaded waits for others of its priority alone."""
        self.queue = WaitingQueue(lambda: self.limits, self.adapters, by_priority=True)
        urgent, usual, base = sequence_of(1, -1), sequence_of(2, 0), sequence_of(0, 0)
        for sequence in (base, usual, urgent):
            self.queue.put(sequence)
        self.assertEqual([urgent, base, None], [self.queue.take() for _ in range(3)])

    def test_priority_and_turns(self) -> None:
        """Who has a better priority than the one whose turn has come starts all the same."""
        self.queue = WaitingQueue(lambda: self.limits, self.adapters, by_priority=True, patience=1)
        for sequence in (sequence_of(1), sequence_of(2), sequence_of(1), sequence_of(1)):
            self.queue.put(sequence)
        self.assertEqual(3, sum(self.queue.take() is not None for _ in range(4)))
        self.put(1)
        self.assertIsNone(self.queue.take())
        urgent = sequence_of(1, -1)
        self.assertFalse(self.queue.admit(urgent))
        self.queue.put(urgent)
        self.assertIs(urgent, self.queue.take())

    def test_no_priority(self) -> None:
        """Without that policy priorities mean nothing."""
        first, second = sequence_of(0, 5), sequence_of(0, -5)
        self.queue.put(first)
        self.queue.put(second)
        self.assertEqual([first, second], [self.queue.take(), self.queue.take()])

    def test_a_thousand_who_cannot_run(self) -> None:
        """Who is next is found without looking at all who wait."""
        self.adapters.occupy(adapter_of("a1"))
        self.put(*[2 + number % 5 for number in range(1000)])
        line = self.queue._lines[2].sequences
        asked: list[Sequence] = []
        line._ranks = _Watched(line._ranks, asked)
        self.put(0)
        self.assertIsNotNone(self.queue.take())
        self.assertIsNone(self.queue.take())
        self.assertEqual((1000, 1000), (self.queue.deferred, len(self.queue)))
        self.assertLess(len(asked), 10)


class _Watched(dict[Any, Any]):
    """Remembers what is looked up."""

    def __init__(self, ranks: dict[Any, Any], asked: list[Any]) -> None:
        super().__init__(ranks)
        self._asked = asked

    def get(self, key: Any, default: Any = None) -> Any:
        """Remember."""
        self._asked.append(key)
        return super().get(key, default)


@define(eq=False)
class SlowQueue:
    """The rules, as the documentation says them: it looks at everyone who waits, each time.

    :param slots: how many adapters may be in use.
    """

    slots: int
    overtaken_most: int
    waiting: list[tuple[int, int, int]] = field(factory=list)
    """Priority, order and adapter of each."""
    users: dict[int, int] = field(factory=dict)
    overtaken: dict[int, int] = field(factory=dict)

    def first_away(self) -> tuple[int, int, int] | None:
        """Find the first whose adapter is not there."""
        return min((each for each in self.waiting if each[2] and each[2] not in self.users), default=None)

    def next(self) -> tuple[int, int, int] | None:
        """Find who is next."""
        loadable = sum(map(bool, self.users.values())) < self.slots
        away = self.first_away()
        ready = [each for each in self.waiting if not each[2] or each[2] in self.users]
        due = away is not None and self.overtaken.get(away[2], 0) >= self.overtaken_most
        if away and loadable and (due or not ready or away[0] < min(ready)[0]):
            return away
        if away and due:
            ready = [each for each in ready if not each[2] or each < away]
        return min(ready, default=None)

    def take(self) -> tuple[int, int, int] | None:
        """Take who is next."""
        one = self.next()
        if one is None:
            return None
        self.waiting.remove(one)
        away, adapter = self.first_away(), one[2]
        if away is not None and away < one and away[2] != adapter:
            self.overtaken[away[2]] = self.overtaken.get(away[2], 0) + 1
        if adapter:
            if adapter not in self.users and len(self.users) >= self.slots:
                del self.users[next(each for each, users in self.users.items() if not users)]
            self.users[adapter] = self.users.get(adapter, 0) + 1
            self.overtaken.pop(adapter, None)
        self.forget()
        return one

    def forget(self) -> None:
        """Forget of adapters for which nobody waits how often they were overtaken."""
        wanted = {each[2] for each in self.waiting}
        self.overtaken = {adapter: times for adapter, times in self.overtaken.items() if adapter in wanted}


COMES, ENDS, LEAVES = range(3)
STEPS = st.lists(
    st.tuples(st.sampled_from((COMES, COMES, COMES, ENDS, ENDS, LEAVES)), st.integers(0, 5), st.integers(-1, 1)),
    max_size=100,
)


@define(eq=False, slots=False)
class Race:
    """Sequences that come, run in slots, end and leave, in the queue and in the slow one side by side."""

    case: SynchronousTestCase
    sequence_slots: int
    adapter_slots: int
    by_priority: bool = False
    patience: int = 1
    started: list[tuple[int, int, int]] = field(factory=list)
    running: list[tuple[tuple[int, int, int], Sequence]] = field(factory=list)
    waiting: dict[tuple[int, int, int], Sequence] = field(factory=dict)
    overtaken: Counter[tuple[int, int, int]] = field(factory=Counter)
    """How many who use adapters overtook each while it was the first of those whose adapter is not there."""
    _order: int = 0

    def __attrs_post_init__(self) -> None:
        limits = RankLimits(self.sequence_slots)
        self.adapters = GivenAdapters(self.adapter_slots)
        self.queue = WaitingQueue(lambda: limits, self.adapters, self.by_priority, self.patience)
        self.slow = SlowQueue(self.adapter_slots, max(self.patience, self.sequence_slots))

    def step(self, what: int, which: int, priority: int) -> None:
        """Have something happen, and all start who may."""
        if what == COMES:
            self.come(which, priority)
        elif what == ENDS and self.running:
            one, sequence = self.running.pop(which % len(self.running))
            self.queue.release(sequence)
            if one[2]:
                self.slow.users[one[2]] -= 1
        elif what == LEAVES and self.slow.waiting:
            one = self.slow.waiting.pop(which % len(self.slow.waiting))
            self.case.assertTrue(self.queue.discard(self.waiting.pop(one)))
            self.slow.forget()
        self.fill()

    def come(self, adapter: int, priority: int) -> None:
        """Have a sequence come: it starts or waits."""
        self._order += 1
        sequence = sequence_of(adapter, priority)
        one = (priority if self.by_priority else 0, self._order, adapter)
        self.slow.waiting.append(one)
        self.waiting[one] = sequence
        if len(self.running) < self.sequence_slots and self.queue.admit(sequence):
            self.begin(sequence)
        else:
            self.queue.put(sequence)

    def begin(self, sequence: Sequence) -> None:
        """See that the one who starts is the one who should."""
        first, one = self.slow.first_away(), self.slow.take()
        assert one is not None
        self.case.assertIs(sequence, self.waiting.pop(one))
        if first is not None and first < one and one[2]:
            self.overtaken[first] += 1
        self.started.append(one)
        self.running.append((one, sequence))
        in_use = {adapter for (_, _, adapter), _ in self.running if adapter}
        self.case.assertLessEqual(len(in_use), self.adapter_slots)

    def fill(self) -> None:
        """Have those start who may; then no slot is empty while one could run."""
        while len(self.running) < self.sequence_slots and (sequence := self.queue.take()) is not None:
            self.begin(sequence)
        idle = len(self.running) < self.sequence_slots
        self.case.assertEqual(self.slow.next() is not None, self.queue.runnable())
        self.case.assertFalse(idle and self.queue.runnable())
        loadable = sum(map(bool, self.slow.users.values())) < self.adapter_slots
        away = sum(1 for each in self.slow.waiting if each[2] and each[2] not in self.slow.users)
        self.case.assertEqual((0 if loadable else away, len(self.slow.waiting)), (self.queue.deferred, len(self.queue)))


class RandomTests(SynchronousTestCase):
    """Whatever comes, ends and leaves."""

    @settings(deadline=None)
    @given(st.integers(1, 4), st.integers(1, 3), st.booleans(), STEPS)
    def test_like_the_rules(self, slots: int, adapters: int, by_priority: bool, steps: Any) -> None:
        """The next is who it should be, no slot is empty without need, and no more adapters run than may."""
        race = Race(self, slots, adapters, by_priority)
        for step in steps:
            race.step(*step)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, 4), st.integers(1, 3), st.randoms(use_true_random=False))
    def test_nobody_starves(self, slots: int, adapters: int, chance: random.Random) -> None:
        """However the others come, only so many who use adapters overtake one, be it first or further behind."""
        race = Race(self, slots, adapters)
        most = race.slow.overtaken_most
        favourites = [chance.randrange(6) for _ in range(3)]
        ahead: dict[int, int] = {}
        for order in range(1, 200):
            adapter = chance.choice(favourites) if chance.random() < 0.9 else chance.randrange(6)
            ahead[order] = len(race.slow.waiting)
            race.step(COMES, adapter, 0)
            if order > 2 * slots:
                race.step(ENDS, chance.randrange(slots), 0)
        while race.running:
            race.step(ENDS, 0, 0)
        self.assertEqual([], race.slow.waiting)
        self.assertLessEqual(max(race.overtaken.values(), default=0), most)
        for place, (_, order, _) in enumerate(race.started):
            overtakers = sum(1 for _, other, adapter in race.started[:place] if adapter and other > order)
            self.assertLessEqual(overtakers, most * (ahead[order] + 1))
