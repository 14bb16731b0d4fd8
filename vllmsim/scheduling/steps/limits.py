# -*- test-case-name: tests.scheduling.steps.test_scheduler -*-
"""How much an engine does in one step. The scheduler asks anew before each, as the operator may change it."""

from attrs import frozen


@frozen
class StepLimits:
    """What the configuration allows.

    :param running: the most sequences that run at the same time.
    :param batched_tokens: the most tokens that the model takes in a step.
    :param length: the most tokens of a sequence, prompt and answer.
    :param scheduled_tokens: the most tokens that are scheduled for a step; None for `batched_tokens`.
    :param long_prefill: the most tokens of one sequence in a step, unless it is alone; 0 for any number.
    :param adaptive: whether that is at least an even share of `batched_tokens`.
    :param chunked: whether a prompt may be let in with a part of its tokens.
    :param whole: whether a sequence is let in only when all its tokens of now have room.
    :param spare: how many blocks must stay free when a sequence is let in while others run.
    :param adapters: how many LoRA adapters may be in use at the same time.
    :param lookahead: for how many guesses behind its last token a sequence needs room in blocks.
    :param draft_slots: how many tokens of the model's a guess takes for each sequence beside those that are scheduled.
    :param padding: with so many guesses a sequence comes that has all but one token computed; 0 for none.
    """

    running: int
    batched_tokens: int
    length: int
    scheduled_tokens: int | None = None
    long_prefill: int = 0
    adaptive: bool = False
    chunked: bool = True
    whole: bool = True
    spare: int = 0
    adapters: int = 1
    lookahead: int = 0
    draft_slots: int = 0
    padding: int = 0
