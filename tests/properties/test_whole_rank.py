"""Whatever happens to a rank, its books are right."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.properties.rules import WholeRankMachine


class WholeRankTests(SynchronousTestCase):
    """A rank that is used at random."""

    def test_use(self) -> None:
        """Whatever clients, operators and time do, all that is counted is right, and everyone comes to an end."""
        run_state_machine_as_test(
            WholeRankMachine,
            settings=settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)),
        )
