# -*- test-case-name: tests.scheduling.test_simulator -*-
"""What the simulator knows of whatever runs sequences: slots, or an engine that goes in steps."""

from typing import Protocol

from vllmsim.inference import Adapter
from vllmsim.scheduling.sequence import Sequence


class Runner(Protocol):
    """Runs sequences, no more at once than it has room for; the others wait their turn."""

    @property
    def running(self) -> int:
        """How many sequences run."""

    def start(self) -> None:
        """Begin to serve."""

    def stop(self) -> None:
        """Serve no more; sequences that run must have been removed before."""

    def unload_adapters(self) -> None:
        """Have adapters that no sequence runs with be on disk alone."""

    def require_room(self, count: int, adapter: Adapter | None = None) -> None:
        """Make sure that so many sequences may be added.

        :param adapter: what they use.
        :raises vllmsim.errors.QueueFull: when one of them would have to wait beyond the queue's bound.
        """

    def add(self, sequence: Sequence) -> None:
        """Run a sequence as soon as there is room for it."""

    def remove(self, sequence: Sequence) -> None:
        """Stop a sequence, or have it wait no more. Harmless after its end."""

    def abort(self, sequence: Sequence) -> None:
        """End a sequence with what it has said. Harmless after its end."""

    def fill(self) -> None:
        """Have sequences start that may; to be called when more may than before."""
