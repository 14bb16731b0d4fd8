# -*- test-case-name: tests.bench.test_steps -*-
"""What a step of the engine costs, beside the tokens that it gives.

A scheduler with its KV cache makes steps one after the other, here and without a daemon: it chooses who is computed,
takes blocks, hashes those that are full, tells what happened to them, and gives each sequence its token. As many again
wait for a place. What it costs to send tokens is measured elsewhere (see :mod:`bench.paced`): that is the same with
steps as without.
"""

import random
import time
from typing import Final

from twisted.internet.task import Clock

from bench.plan import Plan, Result
from vllmsim.inference import HashedPrompt
from vllmsim.kvcache.hashing.algorithms import block_hash
from vllmsim.kvcache.hashing.prompts import PromptHasher
from vllmsim.kvcache.pool import BlockPool
from vllmsim.kvcache.steps.cache import StepCache
from vllmsim.kvcache.steps.events import StepEvents
from vllmsim.metrics.cache import CacheMetrics
from vllmsim.metrics.exposition import Families
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.scheduling.steps.scheduler import StepScheduler
from vllmsim.shifts import Shifts

_RUNNING: Final = (256, 64, 1024)
"""How many sequences run; the first is the one with a bar."""
_BLOCK: Final = 16
_PROMPT: Final = 100
_STEPS: Final = 30 * _BLOCK
"""Every sequence fills a block in one of sixteen, and not all in the same."""
_ROUNDS: Final = 3
"""The least of so many counts: whatever else the machine does adds to it, and nothing takes from it."""
_LENGTH: Final = 1 << 16


def measure(plan: Plan) -> Result:
    """Make steps in which some sequences have a token each."""
    rows, costs = [], []
    steps = plan.tokens or _STEPS
    for count in plan.streams or _RUNNING:
        took = [_take(count, steps) for _ in range(plan.rounds or _ROUNDS)]
        mean, late = min(each[0] for each in took), min(each[1] for each in took)
        costs.append(mean)
        rows.append([f"{count}", f"{mean:.2f} ms", f"{late:.2f} ms", f"{mean / count * 1e3:.2f} us"])
        plan.say("  ".join(rows[-1]))
    header = ("sequences", "CPU of a step", "p99", "of a sequence")
    return Result("What a step costs beside the tokens that it gives", header, rows, {"step": costs[0]})


def _take(count: int, steps: int) -> tuple[float, float]:
    """Tell how long steps take.

    :return: the mean and the 99th percentile, in milliseconds.
    """
    scheduler = _scheduler(count, steps)
    # All prompts are computed before.
    scheduler.complete(scheduler.schedule())
    took = []
    for _ in range(steps):
        begun = time.process_time()
        scheduler.complete(scheduler.schedule())
        took.append((time.process_time() - begun) * 1e3)
    took.sort()
    return sum(took) / steps, took[steps * 99 // 100]


def _scheduler(count: int, steps: int) -> StepScheduler:
    """Have some sequences, and as many that wait, without end."""
    clock = Clock()
    generator = random.Random(1)  # noqa: S311 - simulation, not secrets
    hasher = PromptHasher(block_hash("sha256", "", generator), _BLOCK, "m", Shifts(clock))
    events = StepEvents(())
    usable = count * -(-(_PROMPT + steps + 2 * _BLOCK) // _BLOCK)
    metrics = CacheMetrics(Families({}))
    pool = BlockPool(usable, metrics, (events,))
    cache = StepCache(clock, pool, _BLOCK, hasher, metrics, events)
    limits = StepLimits(count, count * (_PROMPT + _BLOCK), _LENGTH)
    scheduler = StepScheduler(cache, lambda: limits)
    answer = range(_LENGTH)
    for number in range(2 * count):
        scheduler.add(Computation(HashedPrompt([number] * (_PROMPT + number % _BLOCK)), answer))
    return scheduler
