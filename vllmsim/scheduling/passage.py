# -*- test-case-name: tests.scheduling.test_generation -*-
"""A sequence on its way through a rank: who hears that it waits, that it runs, and that it does no more."""

from vllmsim.inference import FinishReason, Prefill
from vllmsim.interfaces import IAdapterMetrics, IRankMetrics
from vllmsim.scheduling.emission import Emission
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.sequence import Sequence


def wait(metrics: IRankMetrics, adapters: IAdapterMetrics, sequence: Sequence, now: float) -> None:
    """Tell that a sequence has come and waits.

    :param now: the time, by the rank's clock.
    """
    metrics.sequence_queued()
    sequence.submission.record.sequence_queued(now)
    sequence.moves("queued", now)
    if sequence.adapter is not None:
        adapters.sequences_changed(sequence.adapter.name, 1, 0)


def give_up(metrics: IRankMetrics, adapters: IAdapterMetrics, sequence: Sequence, now: float) -> None:
    """Tell that a sequence is gone before there was room for it.

    :param now: the time, by the rank's clock.
    """
    metrics.sequence_unqueued()
    sequence.submission.record.sequence_unqueued()
    sequence.moves(None, now)
    if sequence.adapter is not None:
        adapters.sequences_changed(sequence.adapter.name, -1, 0)


def start(model: Model, sequence: Sequence, started: float, prefill: Prefill) -> None:
    """Tell that a sequence has room.

    :param started: since when, by the rank's clock.
    """
    model.metrics.sequence_started()
    sequence.submission.record.sequence_started(started, 0 if sequence.choice % sequence.sampling.n else prefill.found)
    sequence.moves("prefill", started, cached=prefill.found)
    if sequence.adapter is not None:
        model.adapters.sequences_changed(sequence.adapter.name, -1, 1)


def lose(model: Model, sequence: Sequence) -> None:
    """Tell that a sequence which ran waits again."""
    model.metrics.sequence_preempted()
    sequence.submission.record.sequence_preempted()
    sequence.moves("preempted", model.clock.seconds())
    if sequence.adapter is not None:
        model.adapters.sequences_changed(sequence.adapter.name, 1, -1)


def resume(model: Model, sequence: Sequence, cached: int) -> None:
    """Tell that a sequence which had lost its room has some again.

    :param cached: how many of its tokens need not be computed anew.
    """
    model.metrics.sequence_resumed()
    sequence.submission.record.sequence_resumed()
    sequence.moves("prefill", model.clock.seconds(), cached=cached)
    if sequence.adapter is not None:
        model.adapters.sequences_changed(sequence.adapter.name, -1, 1)


def leave(model: Model, sequence: Sequence, emission: Emission | None, reason: FinishReason | None) -> None:
    """Tell that a sequence which had room is gone.

    :param emission: what has delivered its tokens, if it came so far.
    :param reason: why its last token is the last; None if it has been ended before.
    """
    if reason is None:
        model.metrics.sequence_aborted()
    if sequence.adapter is not None:
        model.adapters.sequences_changed(sequence.adapter.name, 0, -1)
    record, sent = sequence.submission.record, emission.sent if emission else 0
    record.sequence_left(emission.last_emission if emission and sent else None)
    if not sequence.aborted:
        record.choice_ended(sequence.choice, sent, reason)
    sequence.moves(None, model.clock.seconds())
