# -*- test-case-name: tests.scheduling.test_fetching -*-
"""KV blocks on their way from the server that has run a sequence's prefill. Nothing is fetched; it only takes time."""

from attrs import define, field

from vllmsim.inference import Prefill
from vllmsim.interfaces import IRankMetrics
from vllmsim.scheduling.sequence import Sequence


def fetching_time(sequence: Sequence, prefill: Prefill, running: int) -> float:
    """Draw how many seconds it takes to fetch what others have of a prompt.

    Where another server has run all of the prefill, it is as if the whole prompt came from there.

    :param running: how many sequences run.
    """
    tokens, found = prefill.external, 0
    if sequence.submission.request.remote_prefill and prefill.computed <= 1:
        tokens, found = prefill.tokens, prefill.found
    latency = sequence.submission.behaviour.latency
    return latency.time_to_first_token(tokens, found, True, running, sequence.generator)


@define(eq=False)
class Fetch:
    """A transfer that has begun. It ends once; what is called after that is harmless.

    :param prefill: where the prompt's tokens come from.
    :param seconds: how long the transfer takes.
    """

    _metrics: IRankMetrics
    _prefill: Prefill
    _seconds: float
    _over: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._metrics.transfer_started()

    def finish(self) -> None:
        """Learn that the blocks are there."""
        if not self._over:
            self._over = True
            self._metrics.transfer_finished(self._prefill, self._seconds)

    def give_up(self) -> None:
        """Learn that nobody waits for them any more."""
        if not self._over:
            self._over = True
            self._metrics.transfer_aborted()
