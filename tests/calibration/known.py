"""Runs of a server whose step time is known, measured by a client, in no time."""

import json
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from attrs import evolve

from tests.commandline import load_words
from vllmsim.calibration.coefficients import Coefficients
from vllmsim.calibration.engine import make_scheduler
from vllmsim.calibration.measured import Measured, Run
from vllmsim.inference import HashedPrompt
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.scheduler import StepScheduler
from vllmsim.steps import StepWork

KNOWN = Coefficients(0.008, 0.00012, 0.00009, 2.5e-8)
"""About what a model of 8 thousand million parameters takes on a GPU."""


def known(work: StepWork) -> float:
    """Tell how long a step takes."""
    k = KNOWN
    return (
        k.constant
        + k.per_prefill_token * work.prefill_tokens
        + k.per_decode_sequence * work.decodes
        + k.per_cached_token * work.read
    )


def scheduler(*words: str) -> StepScheduler:
    """Make an engine that has nothing to do."""
    given = ("--scheduling-model=step", "--max-num-seqs=64", "--max-model-len=4096", "--kv-cache-size=20000")
    return make_scheduler(load_words([*given, *words], {}).configuration)


def sizes(count: int, seed: int) -> list[tuple[int, int]]:
    """Draw lengths of prompts and answers."""
    generator = random.Random(seed)
    return [(generator.randint(20, 900), generator.randint(5, 60)) for _ in range(count)]


def poisson(count: int, rate: float, seed: int) -> list[float]:
    """Draw when requests are sent, so many in a second on average."""
    generator, now = random.Random(seed), 0.0
    return [now := now + generator.expovariate(rate) for _ in range(count)]


class Server:
    """An engine in a loop, and a client that sends it requests.

    :param asked: lengths of prompts and answers.
    :param step: how long a step takes.
    :param way: seconds that a request takes to the engine; its tokens take none.
    :param words: what the engine is told beside.
    """

    def __init__(
        self,
        asked: Sequence[tuple[int, int]],
        step: Callable[[StepWork], float] = known,
        way: float = 0.0,
        words: Sequence[str] = (),
    ) -> None:
        self._asked, self._step, self._way = asked, step, way
        self._engine = scheduler(*words)
        self._numbers: dict[Computation, int] = {}
        self._sent: dict[int, float] = {}
        self._times: dict[int, list[float]] = {}
        self._left = [*range(len(asked))]
        self._coming: list[tuple[float, int]] = []

    def send(self, moment: float) -> None:
        """Send the next request at a time, if there is one."""
        if self._left:
            number = self._left.pop(0)
            self._sent[number] = moment
            self._times[number] = []
            self._coming.append((moment + self._way, number))

    def at(self, moments: Sequence[float]) -> Run:
        """Send requests at these times."""
        for moment in moments:
            self.send(moment)
        return self._serve(lambda _end: None)

    def at_a_time(self, places: int, pause: float = 0.001) -> Run:
        """Have so many requests run at a time; behind one that has ended the next is sent after a pause."""
        for _ in range(places):
            self.send(0.0)
        return self._serve(lambda end: self.send(end + pause))

    def _serve(self, ended: Callable[[float], None]) -> Run:
        now = 0.0
        while self._coming or self._numbers:
            idle = not self._numbers
            if idle:
                now = max(now, min(self._coming)[0])
            for moment, number in sorted(self._coming):
                # A step that others do not hold up begins with the first who comes.
                if moment <= now and not (idle and self._numbers):
                    self._coming.remove((moment, number))
                    prompt, answer = self._asked[number]
                    computation = Computation(HashedPrompt(range(prompt)), range(answer))
                    self._numbers[computation] = number
                    self._engine.add(computation)
            batch = self._engine.schedule()
            now += self._step(batch.work)
            for computation, count in self._engine.complete(batch):
                number = self._numbers[computation]
                self._times[number] += [now - self._sent[number]] * count
                if computation.finished:
                    del self._numbers[computation]
                    ended(now)
        return Run("known", tuple(sorted(map(self._measured, self._sent), key=lambda each: each.start)))

    def _measured(self, number: int) -> Measured:
        times = self._times[number]
        return Measured(self._sent[number], *self._asked[number], times[0], times[-1], tuple(times))


def sparse(run: Run) -> Run:
    """Leave out all but the first and the last tokens."""
    return Run(run.title, tuple(evolve(each, times=()) for each in run.requests))


def vllm_report(run: Run, **more: Any) -> str:
    """Write what ``vllm bench serve`` would have."""
    requests = run.requests
    return json.dumps(
        {
            "date": "20261123-150000",
            "backend": "openai",
            "num_prompts": len(requests),
            "request_rate": "inf",
            "burstiness": 1.0,
            "max_concurrency": None,
            "duration": max(each.end for each in requests),
            "completed": len(requests),
            "total_input_tokens": sum(each.prompt_tokens for each in requests),
            "total_output_tokens": sum(each.output_tokens for each in requests),
            "request_throughput": 1.0,
            "input_lens": [each.prompt_tokens for each in requests],
            "output_lens": [each.output_tokens for each in requests],
            "ttfts": [each.first for each in requests],
            "itls": [[after - before for before, after in pairwise(each.times)] for each in requests],
            "start_times": [each.start + 1000 for each in requests],
            "generated_texts": ["" for _ in requests],
            "errors": ["" for _ in requests],
        }
        | more
    )


def guidellm_report(*runs: Run) -> str:
    """Write what guidellm would have."""
    return json.dumps(
        {
            "metadata": {"version": 1},
            "args": {},
            "benchmarks": [
                {
                    "type_": "generative_benchmark",
                    "config": {"strategy": {"type_": "concurrent", "streams": 4}},
                    "metrics": {"request_totals": {"successful": len(run.requests), "errored": 0, "incomplete": 0}},
                    "requests": {
                        "successful": [_guidellm_request(each) for each in run.requests],
                        "incomplete": [],
                        "errored": [],
                        "total": None,
                    },
                }
                for run in runs
            ],
        }
    )


def _guidellm_request(each: Measured) -> dict[str, Any]:
    begun = 1_795_446_000.0 + each.start
    return {
        "type_": "generative_request_stats",
        "request_id": "r",
        "info": {
            "status": "completed",
            "timings": {
                "resolve_start": begun - 0.001,
                "request_start": begun,
                "first_token_iteration": begun + each.first,
                "last_token_iteration": begun + each.last,
                "token_iterations": each.output_tokens,
                "request_end": begun + each.last + 0.001,
            },
        },
        "input_metrics": {"text_tokens": each.prompt_tokens},
        "output_metrics": {"text_tokens": each.output_tokens},
        "prompt_tokens": each.prompt_tokens,
        "output_tokens": each.output_tokens,
    }


def aiperf_records(run: Run) -> str:
    """Write what aiperf would have."""
    return "".join(json.dumps(aiperf_record(each)) + "\n" for each in run.requests)


def aiperf_record(each: Measured) -> dict[str, Any]:
    """Write the record of one request."""
    begun = 1_795_446_000_000_000_000 + round(each.start * 1e9)
    gaps = [(after - before) * 1000 for before, after in pairwise(each.times)]
    return {
        "metadata": {
            "session_num": 0,
            "x_request_id": "x",
            "request_start_ns": begun,
            "request_end_ns": begun + round(each.last * 1e9),
            "benchmark_phase": "profiling",
            "was_cancelled": False,
        },
        "metrics": {
            "input_sequence_length": {"value": each.prompt_tokens, "unit": "tokens"},
            "output_sequence_length": {"value": each.output_tokens, "unit": "tokens"},
            "time_to_first_token": {"value": each.first * 1000, "unit": "ms"},
            "request_latency": {"value": each.last * 1000, "unit": "ms"},
            "inter_chunk_latency": {"value": gaps, "unit": "ms"},
        },
        "error": None,
    }
