# -*- test-case-name: tests.scheduling.test_slots -*-
"""How much a rank takes on. Whoever keeps to a limit asks for it when it matters, as the operator may change it."""

from attrs import frozen


@frozen
class RankLimits:
    """What the configuration allows.

    :param running: the most sequences that run at the same time.
    :param waiting: the most that wait for a slot, beyond those for whom one is free.
    :param sequences: with more than so many that wait or run no request is let in; None for any number.
    :param prefill_tokens: as long as the prompts of sequences before their first token have so many tokens together,
        no request is let in; None for any number.
    """

    running: int
    waiting: int = 1000
    sequences: int | None = None
    prefill_tokens: int | None = None
