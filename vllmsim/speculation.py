# -*- test-case-name: tests.test_speculation -*-
"""Speculative decoding: a model guesses tokens ahead, a step verifies them, and keeps those up to the first wrong one.

Nobody guesses here, and nothing is verified: how many tokens a step keeps is drawn. Of a draft of k tokens the first i
are all accepted with the chance r(i), which never grows with i. So a step keeps i of them with the chance
r(i) - r(i + 1), one token more comes from the verification itself, and in the long run a step gives
1 + r(1) + ... + r(k) tokens: vLLM's mean acceptance length.
"""

import random

from attrs import frozen


@frozen
class Speculation:
    """How many tokens are guessed, and how many of them are right.

    :param rates: by position in the draft, the share of drafts in which the token there is accepted, and all before it;
        never more than at the position before.
    :param lookahead: for how many tokens a running sequence has blocks beyond those that a step computes: where what
        guesses writes keys and values of its own.
    :param drops_block: whether the last block of a prefix that is found is computed again, for what guesses.
    :param slots: how many places of a step's input each sequence takes beside its tokens.
    :param sizes: if the number of guesses depends on how many sequences a step had, from how many on it is which; in
        order, from 1 on.
    """

    rates: tuple[float, ...]
    lookahead: int = 0
    drops_block: bool = False
    slots: int = 0
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def tokens(self) -> int:
        """How many tokens are guessed at a time, at most."""
        return len(self.rates)

    @property
    def mean_length(self) -> float:
        """How many tokens a step gives in the long run, if all that is guessed is verified."""
        return 1 + sum(self.rates)

    def guessed(self, sequences: int) -> int:
        """Tell how many tokens are guessed behind a step.

        :param sequences: how many were in it.
        """
        sizes = [tokens for least, tokens in self.sizes if least <= sequences]
        return sizes[-1] if sizes else self.tokens

    def accepted(self, drafted: int, generator: random.Random) -> int:
        """Draw how many tokens of a draft are right.

        :param drafted: how many of them are verified, from the first on.
        :param generator: the sequence's own for this; one number is drawn from it.
        """
        drawn = generator.random()
        return sum([drawn < rate for rate in self.rates[:drafted]])
