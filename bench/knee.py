# -*- test-case-name: tests.bench.test_knee -*-
"""Where more concurrency brings no more tokens: throughput and gaps of one configuration, over the number of clients.

    python -m bench.knee docs/knee.svg --model-preset llama-3.1-8b --device-preset h100-sxm ...

What follows the file are options of the server. There is no server and no waiting: the scheduler, the KV cache and the
step time that it would have are driven directly. Each client sends a request when its last is answered. Prompts have
nothing in common; their lengths, and those of answers, are drawn evenly around their means with a fixed seed.
"""

import random
import shlex
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from twisted.internet.task import Clock

from bench.chart import Panel, draw
from bench.lateness import percentile
from vllmsim.assembly.stepping import step_limits
from vllmsim.config.arguments import scan
from vllmsim.config.loading import load
from vllmsim.config.schema import Configuration
from vllmsim.inference import HashedPrompt
from vllmsim.interfaces import IStepTime
from vllmsim.kvcache.pool import BlockPool
from vllmsim.kvcache.steps.cache import StepCache
from vllmsim.kvcache.steps.events import StepEvents
from vllmsim.metrics.cache import CacheMetrics
from vllmsim.metrics.exposition import Families
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.scheduler import StepScheduler
from vllmsim.steptime.choice import make_step_time

PROMPT: Final = 1024
ANSWER: Final = 256
"""Tokens, on average; the shortest have half as many, and the longest half as many more."""
CLIENTS: Final = tuple(1 << power for power in range(11))
SEED: Final = 11
_ROUNDS: Final = 4
"""How many requests each client sends that count; the first of each does not, as all begin at once."""
_FEWEST: Final = 40


@frozen
class Point:
    """What so many clients see.

    :param throughput: tokens of answers per second, of all.
    :param gap: seconds between two tokens of an answer, of which one of a hundred is longer.
    :param preemptions: how many times a sequence lost its blocks.
    """

    clients: int
    throughput: float
    gap: float
    preemptions: int


def make_scheduler(configuration: Configuration) -> StepScheduler:
    """Make the scheduler that a server would have."""
    c = configuration
    metrics, events, limits = CacheMetrics(Families({}, None)), StepEvents(()), step_limits(c)
    pool = BlockPool(c.kv_cache_size - 1, metrics, (events,))
    cache = StepCache(Clock(), pool, c.block_size, None, metrics, events, longest=c.max_model_len)
    return StepScheduler(cache, lambda: limits, c.scheduling_policy == "priority")


@define(eq=False)
class Load:
    """Clients of one engine, each with one request at a time.

    :param prompt: tokens of a prompt, on average.
    :param answer: tokens of an answer, on average.
    """

    _scheduler: StepScheduler
    _step_time: IStepTime
    _clients: int
    _prompt: int
    _answer: int
    _random: random.Random = field(init=False, factory=lambda: random.Random(SEED))  # noqa: S311
    _last: dict[Computation, float] = field(init=False, factory=dict)
    """When the last token of each came; when it began, if there was none."""
    _gaps: "array[float]" = field(init=False, factory=lambda: array("d"))
    _ended: int = field(init=False, default=0)

    def run(self) -> Point:
        """Serve as many requests as it takes."""
        for _ in range(self._clients):
            self._ask(0.0)
        needed = self._clients + max(_FEWEST, _ROUNDS * self._clients)
        now = begun = 0.0
        tokens = preemptions = 0
        while self._ended < needed:
            batch = self._scheduler.schedule()
            now += self._step_time.seconds(batch.work, self._random)
            counts = self._ended >= self._clients
            given = sum(self._give(now, self._scheduler.complete(batch), counts))
            if counts:
                tokens += given
                preemptions += len(batch.preempted)
            else:
                begun = now
        return Point(self._clients, tokens / (now - begun), percentile(sorted(self._gaps), 0.99), preemptions)

    def _give(self, now: float, given: Sequence[tuple[Computation, int]], counts: bool) -> Iterable[int]:
        for computation, new in given:
            if counts and computation.generated > new:
                self._gaps.append(now - self._last[computation])
            self._last[computation] = now
            if computation.finished:
                del self._last[computation]
                self._ended += 1
                self._ask(now)
            yield new

    def _ask(self, now: float) -> None:
        computation = Computation(HashedPrompt(range(self._draw(self._prompt))), range(self._draw(self._answer)))
        self._last[computation] = now
        self._scheduler.add(computation)

    def _draw(self, mean: int) -> int:
        return self._random.randint(max(1, mean // 2), mean + mean // 2)


def measure(configuration: Configuration, clients: Iterable[int], tell: Callable[[str], object]) -> list[Point]:
    """Find out what some numbers of clients see."""
    points = []
    tell("clients  tokens/s  p99 gap  preemptions")
    for each in clients:
        point = Load(make_scheduler(configuration), make_step_time(configuration), each, PROMPT, ANSWER).run()
        points.append(point)
        tell(f"{each:7}  {point.throughput:8.0f}  {point.gap * 1000:4.1f} ms  {point.preemptions:11}")
    return points


def picture(title: str, points: Sequence[Point], command: str) -> str:
    """Draw what was found."""
    panels = (
        Panel("tokens of answers per second", [point.throughput for point in points], "#1f77b4"),
        Panel("time between tokens, 99th percentile, in ms", [point.gap * 1000 for point in points], "#d62728"),
    )
    return draw(title, "clients that have a request each", [point.clients for point in points], panels, command)


def main(words: Sequence[str]) -> int:
    """Measure, and write a picture.

    :param words: the path of the picture, and options of the server.
    :return: the exit status.
    """
    if not words or words[0].startswith("-"):
        print("usage: python -m bench.knee FILE.svg [OPTION OF THE SERVER ...]", file=sys.stderr)
        return 2
    c = load(scan(("--scheduling-model", "step", *words[1:])), {}).configuration
    points = measure(c, CLIENTS, print)
    title = f"{c.model_preset} on {c.device_preset}: {PROMPT} tokens of prompt and {ANSWER} of answer on average"
    Path(words[0]).write_text(picture(title, points, shlex.join(["python", "-m", "bench.knee", *words])), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
