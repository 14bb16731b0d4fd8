# -*- test-case-name: tests.scheduling.test_generation -*-
"""What a sequence goes through between its answer and its last token: where it gets room, and when it talks."""

from typing import Protocol

from twisted.internet.defer import Deferred

from vllmsim.inference import Answer, Prefill
from vllmsim.scheduling.emission import Emission


class Course(Protocol):
    """The course of one sequence."""

    @property
    def preemptions(self) -> int:
        """How many times it lost its room to others."""

    def enter(self, answer: Answer) -> Deferred[Prefill]:
        """Get room.

        :param answer: what will be said.
        :return: fires when there is room, with where the prompt's tokens come from. Cancelling gives the turn up.
        """

    def speak(self, answer: Answer, begun: float) -> Emission:
        """Have the tokens leave from now on. Called once, when there is room.

        :param answer: what is said.
        :param begun: when there was room, in the pacer's time.
        :return: what delivers them; its Deferred fires behind the last.
        """

    def leave(self) -> None:
        """Give back whatever it has. Called once, in the end."""
