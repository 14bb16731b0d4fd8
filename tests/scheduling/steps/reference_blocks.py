"""Blocks that are slow and obvious: a list of those that are free, searched from end to end for everything.

A block is named by the text of all tokens up to its end, and whose they are, so that nothing is hashed.
"""

from typing import TypeAlias

from attrs import define, field, frozen

Event: TypeAlias = tuple[object, ...]
"""What subscribers are told: ("stored", parent, names, ids), ("removed", name) or ("cleared",)."""


@frozen
class Rules:
    """What an operator has chosen.

    :param batched: the most tokens that the model takes in a step.
    :param scheduled: the most tokens that are scheduled for one, if that is less.
    :param seats: the most sequences that run.
    :param blocks: how many blocks there are, the null block among them.
    :param size: tokens per block.
    :param longest: the most tokens of a sequence.
    :param threshold: the most tokens of one sequence in a step, if there are others at all; 0 for any number.
    :param adaptive: whether that is at least an even share of what the model takes.
    :param chunked: whether a prompt may be computed in parts, because a step has no more room.
    :param whole: whether a sequence is let in only when all its tokens fit.
    :param watermark: the share of blocks that a sequence leaves free when it is let in beside others.
    :param priority: whether a sequence's priority goes before its arrival.
    :param adapters: the most adapters in a step.
    :param caching: whether blocks are found again.
    :param guesses: how many tokens are guessed behind each that is said.
    :param ahead: for how many guesses that are not there yet a sequence takes blocks.
    :param places: how many tokens of what the model takes each sequence costs beside its own.
    :param even: whether a sequence that comes to say its next token takes as much as those that guess.
    :param drops: whether the last block that is found is computed again.
    """

    batched: int
    seats: int
    blocks: int
    size: int
    longest: int
    scheduled: int | None = None
    threshold: int = 0
    adaptive: bool = False
    chunked: bool = True
    whole: bool = True
    watermark: float = 0
    priority: bool = False
    adapters: int = 1
    caching: bool = True
    guesses: int = 0
    ahead: int = 0
    places: int = 0
    even: bool = False
    drops: bool = False


@define(eq=False)
class Block:
    """A block: what it holds, how many sequences have it, and since when it goes by its name."""

    name: str | None = None
    holders: int = 0
    named: int = 0


@define(eq=False)
class Sequence:
    """A sequence: what it asked for, and how far it is.

    :param answer: all tokens that it will say.
    :param arrival: orders those that have the same priority.
    :param owner: the adapter, or nothing.
    :param reads: whether blocks that others have computed may be used.
    :param ready: whether it may be let in; what is not ready holds up nobody.
    :param luck: how many guesses are right, by how many tokens it has said, over and over again.
    """

    name: str
    prompt: list[int]
    answer: list[int]
    arrival: int = 0
    priority: int = 0
    owner: str = ""
    salt: str = ""
    reads: bool = True
    ready: bool = True
    luck: tuple[int, ...] = (0,)
    said: int = 0
    computed: int = 0
    guessed: int = 0
    partial: bool = False
    """Whether there was more to compute than its last step had room for."""
    preemptions: int = 0
    cached: int | None = None
    blocks: list[Block] = field(factory=list)
    full: int = 0
    """How many of its blocks go by a name."""

    @property
    def tokens(self) -> list[int]:
        """All tokens there are."""
        return self.prompt + self.answer[: self.said]

    @property
    def rank(self) -> tuple[int, int]:
        """What comes first has less."""
        return self.priority, self.arrival

    def lucky(self, said: int) -> int:
        """Tell how many guesses are right, when so many tokens were said."""
        return self.luck[said % len(self.luck)]

    def block_name(self, number: int, size: int) -> str:
        """Name a block by what it depends on."""
        root = "+".join(filter(None, [self.owner, self.salt]))
        starts = range(0, (number + 1) * size, size)
        return "/".join([root, *(",".join(map(str, self.tokens[start : start + size])) for start in starts)])


@define(eq=False)
class Blocks:
    """All blocks.

    :param free: in the order in which they are given away.
    """

    rules: Rules
    every: list[Block] = field(init=False)
    free: list[Block] = field(init=False)
    events: list[Event] = field(factory=list)
    names: int = 0

    @every.default
    def _blank(self) -> list[Block]:
        # The null block is nobody's.
        return [Block() for _ in range(self.rules.blocks - 1)]

    @free.default
    def _all_blank(self) -> list[Block]:
        return list(self.every)

    @property
    def used(self) -> int:
        """How many blocks sequences have."""
        return self.rules.blocks - 1 - len(self.free)

    def take_events(self) -> list[Event]:
        """Tell what happened since this was asked last."""
        events, self.events = self.events, []
        return events

    def forget(self) -> None:
        """Forget what the free blocks hold."""
        for block in self.free:
            block.name = None
        self.events.append(("cleared",))

    def prefix(self, sequence: Sequence) -> list[Block]:
        """Find the longest prefix in full blocks; the last token is always computed."""
        found: list[Block] = []
        while self.rules.caching and sequence.reads and (len(found) + 1) * self.rules.size < len(sequence.tokens):
            block = self.find(sequence.block_name(len(found), self.rules.size))
            if block is None:
                break
            found.append(block)
        if self.rules.drops:
            del found[-1:]
        return found

    def missing(self, sequence: Sequence, tokens: int) -> int:
        """Tell how many blocks a sequence lacks for some tokens."""
        return max(0, len(range(0, tokens, self.rules.size)) - len(sequence.blocks))

    def find(self, name: str) -> Block | None:
        """Find the block that has gone by a name longest."""
        named = [block for block in self.every if block.name == name]
        return min(named, key=lambda block: block.named, default=None)

    def share(self, sequence: Sequence, found: list[Block]) -> None:
        """Give a sequence blocks for what they hold."""
        for block in found:
            if block in self.free:
                self.free.remove(block)
            block.holders += 1
        sequence.blocks = found
        sequence.full = len(found)

    def fill(self, sequence: Sequence, slots: int, tokens: int) -> None:
        """Take the blocks that so many slots need, and have those that tokens will fill go by their names."""
        for _ in range(self.missing(sequence, slots)):
            block = self.free.pop(0)
            if block.name is not None:
                self.events.append(("removed", block.name))
            block.name, block.holders = None, 1
            sequence.blocks.append(block)
        # What is guessed may be wrong.
        full = min(tokens, len(sequence.tokens)) // self.rules.size
        if self.rules.caching and full > sequence.full:
            size, first = self.rules.size, sequence.full
            names = [sequence.block_name(number, size) for number in range(first, full)]
            for block, name in zip(sequence.blocks[first:full], names, strict=True):
                self.names += 1
                block.name, block.named = name, self.names
            parent = sequence.block_name(first - 1, size) if first else None
            self.events.append(("stored", parent, names, sequence.tokens[first * size : full * size]))
            sequence.full = full

    def release(self, sequence: Sequence) -> None:
        """Take blocks back: those that hold nothing go first, of the others the end goes first."""
        blank: list[Block] = []
        for block in reversed(sequence.blocks):
            block.holders -= 1
            if not block.holders:
                (self.free if block.name else blank).append(block)
        self.free[:0] = blank
        sequence.blocks = []
        sequence.full = sequence.computed = sequence.guessed = 0
