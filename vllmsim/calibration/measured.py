# -*- test-case-name: tests.calibration.test_measured -*-
"""What a load generator has seen of a server: requests, and when their tokens came."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from statistics import median
from typing import Final

from attrs import frozen

_THINKING: Final = 0.02
"""Which part of a request's time a client that keeps a number of requests running may take between two of them."""
_LEAST_THINKING: Final = 0.005
_MOST: Final = 0.9
"""The part of all requests for which that must hold."""


@frozen
class Measured:
    """One request that was answered.

    :param start: when it was sent, in seconds of any clock.
    :param prompt_tokens: at least 1.
    :param output_tokens: at least 1.
    :param first: seconds from its start to its first token.
    :param last: seconds from its start to its last one.
    :param times: seconds from its start to each token; empty where they are not known one by one.
    """

    start: float
    prompt_tokens: int
    output_tokens: int
    first: float
    last: float
    times: tuple[float, ...] = ()

    @property
    def gap(self) -> float:
        """The mean time between two tokens, in seconds; 0 if there are none."""
        return (self.last - self.first) / (self.output_tokens - 1) if self.output_tokens > 1 else 0.0

    @property
    def end(self) -> float:
        """When its last token came."""
        return self.start + self.last


@frozen
class Arrival:
    """When a request comes, in a run that is played again.

    :param behind: the number of the request that must have ended before; None if it waits for none.
    :param seconds: from that end, or else from the beginning of the run.
    """

    behind: int | None
    seconds: float


@frozen
class Run:
    """One run of a benchmark.

    :param title: what to call it.
    :param requests: those that were answered, in the order of their starts.
    :param failed: how many others there were.
    """

    title: str
    requests: tuple[Measured, ...]
    failed: int = 0

    @property
    def concurrency(self) -> int:
        """How many requests ran at the same time at most."""
        running: list[float] = []
        most = 0
        for each in self.requests:
            while running and running[0] <= each.start:
                heappop(running)
            heappush(running, each.end)
            most = max(most, len(running))
        return most

    def arrivals(self) -> list[Arrival]:
        """Tell when the requests come.

        Who keeps a number of requests running sends one when another has ended, however long that took: its requests
        come behind others. All others come at their own times.
        """
        followed = self._followed()
        thinking = sorted(each.seconds for each in followed if each.behind is not None)
        if thinking:
            bound = max(_THINKING * median(each.last for each in self.requests), _LEAST_THINKING)
            if thinking[int(_MOST * (len(thinking) - 1))] <= bound:
                return followed
        return self.starts()

    def starts(self) -> list[Arrival]:
        """Tell when the requests came, whatever they came behind."""
        begun = self.requests[0].start
        return [Arrival(None, each.start - begun) for each in self.requests]

    def _followed(self) -> list[Arrival]:
        """Have every request but the first ones come behind the first that has ended and that nobody followed."""
        begun, places = self.requests[0].start, self.concurrency
        ended = [(each.end, number) for number, each in enumerate(self.requests)]
        heapify(ended)
        result: list[Arrival] = []
        for each in self.requests:
            if len(result) < places:
                result.append(Arrival(None, each.start - begun))
            else:
                end, number = heappop(ended)
                result.append(Arrival(number, max(0.0, each.start - end)))
        return result


def in_order(title: str, found: Sequence[Measured | None], failed: int = 0) -> Run:
    """Make a run of what was found in a report.

    :param found: requests in any order; None for one that was not answered, or of which too little is said.
    :param failed: how many others there were.
    """
    requests = [each for each in found if each is not None and 0 < each.first <= each.last]
    requests.sort(key=lambda each: each.start)
    return Run(title, tuple(requests), failed + len(found) - len(requests))
