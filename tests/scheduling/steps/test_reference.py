"""The slow scheduler is no other than vLLM's own."""

import json
from itertools import cycle, islice
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduling.steps.reference import Reference
from tests.scheduling.steps.reference_blocks import Rules, Sequence
from tests.scheduling.steps.test_recordings import RECORDINGS


@define(eq=False)
class Recorded:
    """The reference, doing what vLLM's scheduler has done."""

    _recorded: dict[str, Any]
    reference: Reference = field(init=False)
    _sequences: dict[str, Sequence] = field(factory=dict)
    _gone: list[str] = field(factory=list)

    @reference.default
    def _make_reference(self) -> Reference:
        config = dict(self._recorded["config"])
        take = config.pop
        rules = Rules(
            batched=take("max-num-batched-tokens"),
            seats=take("max-num-seqs"),
            blocks=take("num-gpu-blocks"),
            size=take("block-size"),
            longest=take("max-model-len"),
            scheduled=take("max-num-scheduled-tokens", None),
            threshold=take("long-prefill-token-threshold"),
            adaptive=take("long-prefill-token-threshold-adaptive", False),
            chunked=take("enable-chunked-prefill"),
            whole=take("scheduler-reserve-full-isl", True),
            watermark=take("watermark", 0),
            priority=take("scheduling-policy", "fcfs") == "priority",
            adapters=take("max-loras", 1),
            caching=take("enable-prefix-caching", True),
        )
        assert not config, config
        return Reference(rules)

    def come_and_go(self, number: int) -> None:
        """Have those come and those go whose step it is."""
        for order, request in enumerate(self._recorded["requests"]):
            if request["step"] == number:
                answer = list(islice(cycle(self._recorded["generated_ids"]), request["max_tokens"]))
                sequence = Sequence(
                    request["id"],
                    request["prompt"],
                    answer,
                    order,
                    request.get("priority", 0),
                    str(request.get("lora", "")),
                    request.get("cache_salt", ""),
                    not request.get("skip_reading_prefix_cache", False),
                )
                self._sequences[sequence.name] = sequence
                self.reference.add(sequence)
            if request.get("abort") == number and self.reference.discard(self._sequences[request["id"]]):
                self._gone.append(request["id"])

    def step(self, number: int) -> dict[str, Any] | None:
        """Make a step, and tell of it what is recorded of one."""
        self.come_and_go(number)
        step = self.reference.schedule()
        told, self._gone = self._gone, []
        self._gone += [each.name for each in self.reference.complete(step)]
        if not step.scheduled and not step.preempted and not told:
            return None
        return {
            "sched": [(each.name, tokens) for each, tokens in step.scheduled],
            "new": {each.name: cached for each, cached in step.admitted if not each.preemptions},
            "preempted": sorted(each.name for each in step.preempted),
            "finished": sorted(told),
            "blocks": step.used,
            "events": [
                -1 if event[0] == "removed" else _count(event[2]) for event in self.reference.blocks.take_events()
            ],
        }


def _count(names: object) -> int:
    return len(names) if isinstance(names, list) else 0


class ReferenceTests(SynchronousTestCase):
    """Recorded workloads."""

    def test_recordings(self) -> None:
        """The slow scheduler does what vLLM's own has done, where nothing is guessed or fetched."""
        played = 0
        for path in sorted(RECORDINGS.glob("*.json")):
            recorded = json.loads(path.read_text())
            fetches = any("remote" in request for request in recorded["requests"])
            if fetches or "num-speculative-tokens" in recorded["config"]:
                continue
            played += 1
            reference = Recorded(recorded)
            for number, expected in enumerate(recorded["steps"]):
                made = reference.step(number)
                if expected is not None:
                    expected["sched"] = list(expected["sched"].items())
                    made = made and {name: made[name] for name in expected}
                self.assertEqual(made, expected, f"{path.name}, step {number}")
        self.assertGreaterEqual(played, 10)
