# -*- test-case-name: tests.scheduling.test_fetching -*-
"""KV blocks on their way from the server that has run a sequence's prefill. Nothing is fetched; it only takes time."""

from attrs import define, field

from vllmsim.inference import Prefill
from vllmsim.interfaces import IRankMetrics


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
