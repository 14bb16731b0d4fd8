# -*- test-case-name: tests.metrics.test_restarts -*-
"""How often a pacer had stopped, in numbers of our own. There are none as long as that never happens."""

from attrs import define, field

from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Counter


@define(eq=False)
class RestartMetrics:
    """Counts restarts.

    :param families: where its family goes, with the first of them.
    """

    _families: Families
    _counter: Counter | None = field(init=False, default=None)

    def pacer_restarted(self) -> None:
        """Count a pacer that had stopped and was set going again."""
        if self._counter is None:
            text = "Times that a pacer had stopped and was set going again."
            self._counter = self._families.show("vllmsim:pacer_restarts", text, Counter())
        self._counter.value += 1
