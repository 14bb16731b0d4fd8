"""The scheduler does what vLLM's own has done."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduling.steps.rig import Rig
from vllmsim.inference import Adapter
from vllmsim.scheduling.steps.batch import Admission
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits

RECORDINGS: Final = Path(__file__).parents[2] / "golden" / "scheduler"


@define(eq=False)
class GivenGuessing:
    """Guesses as often as vLLM did, and is right as often as it was.

    :param count: how many tokens are guessed.
    """

    count: int
    names: Mapping[Computation, str] = field(init=False, factory=dict)
    accepted: Mapping[str, int] = field(init=False, factory=dict)
    """How many were right in this step."""

    def guess(self, _computation: Computation, _sequences: int) -> int:
        """Guess."""
        return self.count

    def accept(self, computation: Computation, guesses: int) -> int:
        """Tell how many were right."""
        return self.accepted[self.names[computation]]


@define(eq=False)
class Recording:
    """A workload, and what vLLM made of it.

    Whatever is there must be understood, so that nothing is left out that would make a difference.
    """

    _config: dict[str, Any]
    _requests: list[dict[str, Any]]
    _generated: list[int]
    rig: Rig = field(init=False)
    _guessing: GivenGuessing | None = field(init=False, default=None)
    _adapters: dict[Any, Adapter] = field(init=False, factory=dict)
    _delays: dict[Computation, int] = field(init=False, factory=dict)
    """How many steps it takes to fetch what another server has computed for each."""
    _arrivals: list[tuple[int, Computation]] = field(init=False, factory=list)
    """After which step what was fetched is there."""
    _finished: list[str] = field(init=False, factory=list)
    """Who is gone since the last step was scheduled."""

    def __attrs_post_init__(self) -> None:
        config = dict(self._config)
        blocks, take = config.pop("num-gpu-blocks"), config.pop
        guesses = take("num-speculative-tokens", 0)
        limits = StepLimits(
            running=take("max-num-seqs"),
            batched_tokens=take("max-num-batched-tokens"),
            length=take("max-model-len"),
            scheduled_tokens=take("max-num-scheduled-tokens", None),
            long_prefill=take("long-prefill-token-threshold", 0),
            adaptive=take("long-prefill-token-threshold-adaptive", False),
            chunked=take("enable-chunked-prefill", True),
            whole=take("scheduler-reserve-full-isl", True),
            spare=int(take("watermark", 0) * blocks),
            adapters=take("max-loras", 1),
            lookahead=take("num-lookahead-tokens", 0),
            draft_slots=take("max-num-new-slots-for-drafting", 0),
            padding=guesses,
        )
        by_priority = take("scheduling-policy", "fcfs") == "priority"
        if guesses:
            self._guessing = GivenGuessing(guesses)
        self.rig = Rig(
            blocks - 1,
            limits,
            take("block-size"),
            by_priority,
            take("enable-prefix-caching", True),
            guessing=self._guessing,
            drops=take("use-eagle-block-drop", False),
        )
        if self._guessing is not None:
            self._guessing.names = self.rig.names
        assert not config, config

    def play(self, number: int, expected: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make a step.

        :param expected: what vLLM did: what is told of it is told here too.
        """
        self._come_and_go(number)
        scheduler, rig = self.rig.scheduler, self.rig
        batch = scheduler.schedule()
        gone, self._finished = self._finished, []
        blocks = rig.pool.used
        if batch.scheduled:
            if self._guessing is not None:
                self._guessing.accepted = expected.get("accepted", {})
            self._finished += rig.name([each for each, _ in scheduler.complete(batch) if each.finished])
        self._fetch(batch.fetching, number)
        events = rig.listener.take()
        if not batch.scheduled and not batch.preempted and not gone:
            return None
        shown = {
            # A batch has an order, the others are sets.
            "sched": list(rig.show(batch).items()),
            "new": {
                rig.names[each.computation]: each.cached + each.external for each in batch.admitted if not each.resumed
            },
            "preempted": sorted(rig.name(batch.preempted)),
            "finished": sorted(gone),
            "blocks": blocks,
            "events": [len(event[2]) if event[0] == "stored" else -1 for event in events],
            "accepted": expected.get("accepted"),
        }
        return {name: value for name, value in shown.items() if name in expected}

    def _fetch(self, fetching: Sequence[Admission], number: int) -> None:
        """Have what is fetched from now on be there after as many steps as it takes, and what is there be known."""
        for each in fetching:
            self._arrivals.append((number + self._delays[each.computation], each.computation))
        for step, computation in self._arrivals:
            if step == number:
                self.rig.scheduler.fetched(computation)

    def _come_and_go(self, number: int) -> None:
        """Have those come and those be aborted whose step it is, in the order in which they are listed."""
        for request in self._requests:
            if request["step"] == number:
                self._add(dict(request))
        names = {name: computation for computation, name in self.rig.names.items()}
        for request in self._requests:
            if request.get("abort") == number and self.rig.scheduler.discard(names[request["id"]]):
                self._finished.append(request["id"])

    def _add(self, request: dict[str, Any]) -> None:
        take = request.pop
        take("step")
        take("abort", None)
        adapter = take("lora", None)
        if adapter is not None:
            adapter = self._adapters.setdefault(adapter, Adapter(str(adapter), "", "", len(self._adapters) + 1))
        answer = [self._generated[each % len(self._generated)] for each in range(take("max_tokens"))]
        name, prompt, salt = take("id"), take("prompt"), take("cache_salt", None) or ""
        priority, reads = take("priority", 0), not take("skip_reading_prefix_cache", False)
        remote, delay = take("remote", 0), take("delay", 0)
        how: dict[str, Any] = {"priority": priority, "reads": reads, "remote_tokens": remote}
        computation = self.rig.add(name, prompt, answer, adapter=adapter, salt=salt, **how)
        self._delays[computation] = delay
        assert not request, request


class RecordingTests(SynchronousTestCase):
    """Workloads that vLLM 0.33 has scheduled; any more of the kind can be put into the folder."""

    def compare(self, path: Path) -> None:
        """Play one of them, and look at each step."""
        recorded = json.loads(path.read_text())
        recording = Recording(recorded["config"], recorded["requests"], recorded["generated_ids"])
        for number, step in enumerate(recorded["steps"]):
            made = recording.play(number, step or {})
            if step is not None:
                step["sched"] = list(step["sched"].items())
                step["preempted"], step["finished"] = sorted(step["preempted"]), sorted(step["finished"])
            self.assertEqual(made, step, f"{path.name}, step {number}")
        self.assertEqual((recording.rig.scheduler.running, recording.rig.scheduler.waiting), ([], 0))
        self.assertEqual(recording.rig.cache.usage, 0)

    def test_steps(self) -> None:
        """Every step has the sequences, admissions, prefix hits and preemptions that vLLM's had."""
        paths = sorted(RECORDINGS.glob("*.json"))
        self.assertGreaterEqual(len(paths), 20)
        for path in paths:
            self.compare(path)
