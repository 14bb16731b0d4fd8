# -*- test-case-name: tests.test_interfaces -*-
"""What an engine that goes in steps needs of others."""

import random
from collections.abc import Callable, Mapping, Sequence

from zope.interface import Attribute, Interface

from vllmsim.inference import HashedPrompt
from vllmsim.interfaces.blocks import IPrefixCache
from vllmsim.steps import Phase, StepWork


class IStepTime(Interface):
    """How long the steps of an engine take. Pure: equal work and generator states give equal times."""

    def seconds(work: StepWork, generator: random.Random) -> float:
        """Draw a step's duration.

        :param work: what it computes; at least one token.
        :param generator: the engine's randomness for this.
        :return: seconds, at least 0.
        """


class IStepCache(IPrefixCache):
    """The blocks of one rank's KV cache, seen by a scheduler that fills them step by step.

    What happens to blocks between :meth:`begin` and :meth:`end` is told to listeners at the end, all at once.
    """

    def open(prompt: HashedPrompt, answer: Sequence[int], reads: bool, remote_tokens: int) -> "IStepBlocks":
        """Make what keeps the blocks of a sequence; it has none yet.

        :param answer: the ids of all tokens that will be generated.
        :param reads: whether blocks that have its prefix may be used.
        :param remote_tokens: how many tokens of the prompt are fetched from the server that ran its prefill.
        """

    def begin() -> None:
        """A step is about to be scheduled."""

    def scheduled() -> None:
        """The blocks for it are taken: tell how many there are of each kind."""

    def end() -> None:
        """A step is over: tell what has happened to blocks. Harmless when none has begun."""

    def preempting(preempt: Callable[[], object]) -> None:
        """Say who takes all blocks from sequences, when what they hold is to be forgotten while they run."""


class IStepBlocks(Interface):
    """The KV blocks of one sequence, which may lose all of them and come again."""

    prefill = Attribute(
        "Prefill: where the prompt's tokens came from when it was let in first, and which blocks have them."
    )
    count = Attribute("int: how many blocks it has.")

    def missing(tokens: int) -> int:
        """Count the blocks that it has too few for some tokens."""

    def find(tokens: int) -> tuple[int, int]:
        """Look for what is computed already of a sequence that has no blocks.

        :param tokens: how many there are, of prompt and answer; the last is not looked for.
        :return: how many tokens the prefix cache has, and how many more can be fetched from elsewhere.
        """

    def enter(whole: int, slots: int, known: int, spare: int, reserved: int = 0) -> bool:
        """Take the blocks that were found last, and free ones behind them, if there are enough; else nothing.

        :param whole: so many tokens must fit as well, though they get no blocks yet; 0 for no more than `slots`.
        :param slots: for how many tokens there must be blocks.
        :param known: the full blocks of how many tokens are found by others from now on.
        :param spare: how many blocks must be free beside.
        :param reserved: how many more must be free beside those that it gets now.
        :return: whether it has them.
        """

    def grow(slots: int, known: int) -> bool:
        """Take free blocks, if there are enough; else nothing.

        :param slots: for how many tokens there must be blocks.
        :param known: the full blocks of how many tokens are found by others from now on.
        :return: whether it has them.
        """

    def release() -> None:
        """Give all blocks back, the last first; they keep what they hold until others need them."""


class IEngineTrace(Interface):
    """Writes down what an engine does. It costs little, and nothing here waits or raises.

    :param at: is a time by the rank's clock in all that follows.
    """

    def step_began(at: float, seconds: float, work: StepWork, facts: Mapping[str, int]) -> None:
        """A step is scheduled, and the blocks for it are taken.

        :param at: when it begins.
        :param seconds: how long it takes.
        :param facts: what else there is to tell, by name.
        """

    def sequence_came(at: float, facts: Mapping[str, object]) -> int:
        """A sequence is queued.

        :param facts: what there is to tell of it, by name.
        :return: a number to call it by.
        """

    def sequence_moved(number: int, at: float, phase: Phase, facts: Mapping[str, object]) -> None:
        """A sequence comes to another phase.

        :param facts: what there is to tell of that.
        """

    def sequence_left(number: int, at: float) -> None:
        """A sequence is gone."""
