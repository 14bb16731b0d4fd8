"""A scheduler that is slow and obvious: vLLM's rules one after the other, over lists that are searched from end to end.

It knows nothing of the real one, so that the two can be held against each other.
"""

from attrs import define, field

from tests.scheduling.steps.reference_blocks import Block, Blocks, Rules, Sequence


@define(eq=False)
class Step:
    """What one step did.

    :param scheduled: how many tokens of whom, in order.
    :param admitted: who was let in, and how many tokens it found computed.
    :param preempted: who was thrown out, in order.
    :param used: how many blocks sequences have when it begins to compute.
    """

    scheduled: list[tuple[Sequence, int]] = field(factory=list)
    admitted: list[tuple[Sequence, int]] = field(factory=list)
    preempted: list[Sequence] = field(factory=list)
    used: int = 0


@define(eq=False)
class Reference:
    """Schedules."""

    rules: Rules
    blocks: Blocks = field(init=False)
    running: list[Sequence] = field(factory=list)
    waiting: list[Sequence] = field(factory=list)
    lost: list[Sequence] = field(factory=list)
    """Those that were thrown out by a reset, and are named with the next step."""
    queried: int = 0
    hits: int = 0
    most: int = 0
    """How many tokens of one sequence the step may have."""

    @blocks.default
    def _make_blocks(self) -> Blocks:
        return Blocks(self.rules)

    def add(self, sequence: Sequence) -> None:
        """Have a sequence come."""
        self.waiting.append(sequence)

    def discard(self, sequence: Sequence) -> bool:
        """Have a sequence go, wherever it is.

        :return: whether it was anywhere.
        """
        there = False
        for each in self.waiting, self.running:
            if sequence in each:
                each.remove(sequence)
                there = True
        self.blocks.release(sequence)
        return there

    def reset(self, running: bool) -> bool:
        """Forget what blocks hold, and throw out who runs, if that is wanted."""
        if self.running and not running:
            return False
        while self.running:
            self.lost.append(self.running[-1])
            self.throw_out(self.running[-1])
        self.blocks.forget()
        return True

    def schedule(self) -> Step:
        """Decide what the next step computes."""
        step = Step()
        self.most = self.rules.longest
        there = len(self.running + self.waiting)
        # One that is alone takes nothing from others.
        if self.rules.threshold and there > 1:
            self.most = max(self.rules.threshold, self.rules.batched // there if self.rules.adaptive else 0)
        self.schedule_running(step)
        if not step.preempted:
            self.schedule_waiting(step)
        for sequence, tokens in step.scheduled:
            sequence.computed += tokens
            sequence.partial = sequence.computed < len(sequence.tokens)
        step.preempted, self.lost = self.lost + step.preempted, []
        step.used = self.blocks.used
        return step

    def left(self, step: Step) -> int:
        """Tell how many tokens the next sequence of a step may have."""
        given = sum(tokens for _, tokens in step.scheduled)
        places = self.rules.places * (len(step.scheduled) + 1)
        scheduled = self.rules.batched if self.rules.scheduled is None else self.rules.scheduled
        return max(0, min(scheduled - given, self.rules.batched - given - places))

    def schedule_running(self, step: Step) -> None:
        """Give those that run what they lack, and throw others out where there are too few blocks for that."""
        position = 0
        while position < len(self.running) and self.left(step):
            sequence = self.running[position]
            lacking = len(sequence.tokens) + sequence.guessed - sequence.computed
            # A guess must not be the last token that there may be.
            tokens = min(lacking, self.most, self.left(step), self.rules.longest - 1 - sequence.computed)
            slots = min(sequence.computed + tokens + self.rules.ahead, self.rules.longest)
            while sequence in self.running and self.blocks.missing(sequence, slots) > len(self.blocks.free):
                victim = max(self.running, key=lambda each: each.rank) if self.rules.priority else self.running[-1]
                if victim in [each for each, _ in step.scheduled]:
                    position -= 1
                step.scheduled = [(each, given) for each, given in step.scheduled if each is not victim]
                self.throw_out(victim)
                step.preempted.append(victim)
            if sequence not in self.running:
                # Those behind it come before it, and may have what it could not.
                continue
            self.blocks.fill(sequence, slots, sequence.computed + tokens)
            step.scheduled.append((sequence, tokens))
            position += 1

    def schedule_waiting(self, step: Step) -> None:
        """Let others in, as long as there are seats, tokens and blocks."""
        going_on = [sequence for sequence, _ in step.scheduled]
        while self.left(step) and len(self.running) < self.rules.seats:
            sequence = self.next_waiting()
            if sequence is None:
                break
            found = self.blocks.prefix(sequence)
            cached = len(found) * self.rules.size
            tokens = len(sequence.tokens) - cached
            if tokens == 1 and self.evens(going_on, cached):
                tokens += self.rules.guesses
                if tokens > self.left(step):
                    break
            tokens = min(tokens, self.most)
            if tokens > self.left(step) and not self.rules.chunked:
                break
            tokens = min(tokens, self.left(step))
            slots = min(cached + tokens + self.rules.ahead, self.rules.longest)
            if not self.fits(sequence, found, slots):
                break
            self.waiting.remove(sequence)
            self.let_in(sequence, found, step)
            self.blocks.fill(sequence, slots, cached + tokens)
            step.scheduled.append((sequence, tokens))

    def evens(self, going_on: list[Sequence], cached: int) -> bool:
        """Tell whether a sequence takes as much as those that guess, which all say their next tokens.

        :param going_on: those of the step that ran before.
        :param cached: how many tokens of the sequence are computed.
        """
        if not self.rules.even or any(sequence.partial for sequence in going_on):
            return False
        return bool(going_on or cached) and cached + 1 + self.rules.guesses < self.rules.longest

    def next_waiting(self) -> Sequence | None:
        """Tell who is next: nobody whose answer is not known, or whose adapter would be one too many."""
        waiting = sorted(self.waiting, key=lambda each: each.rank) if self.rules.priority else self.waiting
        used = {sequence.owner for sequence in self.running} - {""}
        crowded = len(used) == self.rules.adapters
        barred = [each for each in waiting if crowded and each.owner not in {"", *used}]
        return next((each for each in waiting if each.ready and each not in barred), None)

    def fits(self, sequence: Sequence, found: list[Block], slots: int) -> bool:
        """Tell whether there are blocks for a sequence that is to be let in."""
        # vLLM takes the share of all blocks, the null block among them, and lets the first in without it.
        left = int(self.rules.watermark * self.rules.blocks) if self.running else 0
        taken = left + sum(block in self.blocks.free for block in found) - len(found)
        if self.rules.whole:
            slots = max(slots, len(sequence.tokens))
        return self.blocks.missing(sequence, slots) + taken <= len(self.blocks.free)

    def let_in(self, sequence: Sequence, found: list[Block], step: Step) -> None:
        """Have a sequence run, with what it has found."""
        self.blocks.share(sequence, found)
        sequence.computed = len(found) * self.rules.size
        step.admitted.append((sequence, sequence.computed))
        if sequence.cached is None:
            sequence.cached = sequence.computed
            if self.rules.caching and sequence.reads:
                self.queried += len(sequence.tokens)
                self.hits += sequence.cached
        self.running.append(sequence)

    def throw_out(self, sequence: Sequence) -> None:
        """Have a sequence wait again, before all others, with nothing computed."""
        self.running.remove(sequence)
        self.blocks.release(sequence)
        sequence.preemptions += 1
        self.waiting.insert(0, sequence)

    def complete(self, step: Step) -> list[Sequence]:
        """Have each sequence that has caught up say a token, and those that were guessed before it, as far as right.

        :return: those that have said everything.
        """
        finished = []
        for sequence, _ in step.scheduled:
            if sequence not in self.running or sequence.computed < len(sequence.tokens):
                continue
            guesses = sequence.computed - len(sequence.tokens)
            # Where nothing was guessed nothing is right.
            right = min(guesses, sequence.guessed, sequence.lucky(sequence.said))
            sequence.said = min(sequence.said + right + 1, len(sequence.answer), self.room(sequence))
            sequence.guessed = self.rules.guesses
            if guesses:
                # What was guessed is known now.
                sequence.computed = len(sequence.tokens) - 1
                self.blocks.fill(sequence, sequence.computed, sequence.computed)
            if sequence.said in {len(sequence.answer), self.room(sequence)}:
                finished.append(sequence)
                self.running.remove(sequence)
                self.blocks.release(sequence)
        return finished

    def room(self, sequence: Sequence) -> int:
        """Tell how many tokens a sequence can say."""
        return self.rules.longest - len(sequence.prompt)
