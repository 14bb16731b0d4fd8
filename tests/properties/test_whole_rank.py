"""Whatever happens to a rank, its books are right."""

import gc
import os
import sys

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.properties.rules import WholeRankMachine

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
"""How many lives of ranks are tried; if 0, a few that are always the same."""
SEED = int(os.environ.get("PROPERTY_SEED", "1"))
_FEW = 60
_STEPS = 30


class WholeRankTests(SynchronousTestCase):
    """A rank that is used at random."""

    def test_use(self) -> None:
        """Whatever clients, operators and time do, all that is counted is right, and everyone comes to an end."""
        # Each life ends with a look for what is left of it, which need not go through all that was imported.
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        found = True
        try:
            run_state_machine_as_test(
                seed(SEED)(WholeRankMachine) if EXAMPLES else WholeRankMachine,
                settings=settings(
                    max_examples=EXAMPLES or _FEW,
                    stateful_step_count=_STEPS,
                    derandomize=not EXAMPLES,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate, Phase.shrink],
                    suppress_health_check=list(HealthCheck),
                ),
            )
            found = False
        finally:
            done = ", ".join(f"{count} {what}" for what, count in WholeRankMachine.done.items())
            sys.stderr.write(f"\nproperties: {done}, {int(found)} findings\n")
