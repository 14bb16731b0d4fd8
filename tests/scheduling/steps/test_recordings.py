"""The scheduler does what vLLM's own has done."""

import json
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduling.steps.rig import Rig
from vllmsim.inference import Adapter
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits

RECORDINGS: Final = Path(__file__).parents[2] / "golden" / "scheduler"


@define(eq=False)
class Recording:
    """A workload, and what vLLM made of it.

    Whatever is there must be understood, so that nothing is left out that would make a difference.
    """

    _config: dict[str, Any]
    _requests: list[dict[str, Any]]
    _generated: list[int]
    rig: Rig = field(init=False)
    _adapters: dict[Any, Adapter] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        config = dict(self._config)
        blocks, take = config.pop("num-gpu-blocks"), config.pop
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
        )
        self.rig = Rig(
            blocks - 1,
            limits,
            take("block-size"),
            take("scheduling-policy", take("policy", "fcfs")) == "priority",
            take("enable-prefix-caching", True),
        )
        assert not config, config

    def come(self, step: int) -> None:
        """Have those come whose step it is, in the order in which they are listed."""
        for request in self._requests:
            if request["step"] == step:
                self._add(dict(request))

    def play(self, step: int, finished: list[str]) -> tuple[dict[str, Any] | None, list[str]]:
        """Make a step.

        :param finished: who was finished by the last.
        :return: what vLLM would have recorded, and who was finished by this one.
        """
        self.come(step)
        scheduler, rig = self.rig.scheduler, self.rig
        batch = scheduler.schedule()
        done: list[str] = []
        if batch.scheduled:
            done = rig.name([each for each, _ in scheduler.complete(batch) if each.finished])
        if not batch.scheduled and not batch.preempted and not finished:
            return None, done
        shown = {
            # Batches have an order, the others are sets.
            "sched": list(rig.show(batch).items()),
            "new": {rig.names[each.computation]: each.cached for each in batch.admitted if not each.resumed},
            "preempted": sorted(rig.name(batch.preempted)),
            "finished": sorted(finished),
        }
        return shown, done

    def _add(self, request: dict[str, Any]) -> None:
        take = request.pop
        take("step")
        adapter = take("lora", None)
        if adapter is not None:
            adapter = self._adapters.setdefault(adapter, Adapter(str(adapter), "", "", len(self._adapters) + 1))
        many = take("max_tokens")
        answer = [self._generated[each % len(self._generated)] for each in range(many)]
        name, prompt = take("id"), take("prompt")
        computation: Computation = self.rig.make(
            name,
            prompt,
            answer,
            adapter,
            take("cache_salt", None) or "",
            priority=take("priority", 0),
            reads=not take("skip_reading_prefix_cache", False),
        )
        assert not request, request
        self.rig.scheduler.add(computation)


class RecordingTests(SynchronousTestCase):
    """Workloads that vLLM 0.33 has scheduled; any more of the kind can be put into the folder."""

    def compare(self, path: Path) -> None:
        """Play one of them, and look at each step."""
        recorded = json.loads(path.read_text())
        recording = Recording(recorded["config"], recorded["requests"], recorded["generated_ids"])
        finished: list[str] = []
        for number, step in enumerate(recorded["steps"]):
            expected = step and {
                "sched": list(step["sched"].items()),
                "new": step["new"],
                "preempted": sorted(step["preempted"]),
                "finished": sorted(step["finished"]),
            }
            made, finished = recording.play(number, finished)
            self.assertEqual(made, expected, f"{path.name}, step {number}")
        self.assertEqual((recording.rig.scheduler.running, recording.rig.scheduler.waiting), ([], 0))
        self.assertEqual(recording.rig.cache.usage, 0)

    def test_steps(self) -> None:
        """Every step has the sequences, admissions, prefix hits and preemptions that vLLM's had."""
        paths = sorted(RECORDINGS.glob("*.json"))
        self.assertGreaterEqual(len(paths), 10)
        for path in paths:
            self.compare(path)
