"""The pool under vLLM's own scheduler, as it was recorded.

A recording has every step that vLLM 0.33 took on some requests: ``sched`` tells how many tokens of which request were
computed, ``new`` who was let in and how many tokens were found, ``preempted`` who lost all blocks, and ``finished`` who
had ended by then. Here the pool does what each step says, and must find what vLLM found.
"""

import json
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.kvcache.fakes import ReadableHasher, RecordingCacheMetrics
from vllmsim.inference import StoredBlocks
from vllmsim.kvcache.pool import BlockPool

RECORDINGS = sorted((Path(__file__).parents[1] / "golden" / "scheduler").glob("[0-9]*.json"))
SIZE = 16


@define(eq=False)
class Recorded:
    """One request of a recording.

    :param prompt: its token ids.
    :param said: those that it answers, over and over.
    :param most: how many tokens it has in the end.
    """

    prompt: list[int]
    said: list[int]
    most: int
    blocks: list[int] = field(factory=list)
    computed: int = 0
    full: int = 0
    length: int = field(init=False)
    """How many tokens it has, computed or not."""

    @length.default
    def _prompt_tokens(self) -> int:
        return len(self.prompt)

    def hashes(self) -> list[bytes]:
        """Hash all its full blocks."""
        answer = [self.said[index % len(self.said)] for index in range(self.length - len(self.prompt))]
        return list(ReadableHasher(SIZE).prompt([*self.prompt, *answer]).hashes)


class ScheduleTests(SynchronousTestCase):
    """The workloads that have numbers: they have one queue, and none is aborted."""

    def test_recordings(self) -> None:
        """Whoever is let in finds what vLLM found, and there are blocks enough whenever vLLM had them."""
        found = [self.replay(json.loads(path.read_text("utf-8"))) for path in RECORDINGS]
        self.assertGreaterEqual(len(found), 10)
        self.assertGreaterEqual(sum(map(len, found)), 61)

    def replay(self, recording: dict[str, Any]) -> list[int]:
        """Do what each step says.

        :return: how many tokens were found by each who found some.
        """
        self.pool = BlockPool(recording["config"]["num-gpu-blocks"] - 1, RecordingCacheMetrics())
        said = recording["generated_ids"]
        requests = {
            each["id"]: Recorded(each["prompt"], said, len(each["prompt"]) + each["max_tokens"])
            for each in recording["requests"]
        }
        hits: list[int] = []
        self.running: list[Recorded] = []
        for step in filter(None, recording["steps"]):
            for name in step["finished"]:
                # All its tokens were computed, so that all that was found before was found in vLLM too.
                self.assertEqual(requests[name].most, requests[name].length)
                self.stop(requests[name])
            self.lost = [requests[name] for name in step["preempted"]]
            for name, tokens in step["sched"].items():
                request = requests[name]
                if request not in self.running:
                    cached = self.look_up(request)
                    if name in step["new"]:
                        self.assertEqual(step["new"][name], cached, name)
                    hits += filter(None, [cached])
                    # What is not scheduled in this step is in one of the next.
                    self.assertLessEqual(tokens, request.length - cached)
                self.compute(request, tokens)
            for request in self.lost:
                self.stop(request)
        return hits

    def stop(self, request: Recorded) -> None:
        """Take its blocks away from a request that has ended, or is preempted."""
        self.running.remove(request)
        self.pool.release(request.blocks, 0)
        request.blocks, request.computed, request.full = [], 0, 0

    def look_up(self, request: Recorded) -> int:
        """Let a request in, perhaps again; tell how many of its tokens are there."""
        self.running.append(request)
        request.blocks = self.pool.find(request.hashes(), (request.length - 1) // SIZE)
        self.pool.share(request.blocks)
        request.full = len(request.blocks)
        request.computed = request.full * SIZE
        return request.computed

    def compute(self, request: Recorded, tokens: int) -> None:
        """Compute some more of its tokens, the last of which may give one of the answer."""
        request.computed += tokens
        missing = -(-request.computed // SIZE) - len(request.blocks)
        while missing > self.pool.room:
            # Whoever was let in last is the first to be preempted.
            last = max(self.lost, key=self.running.index)
            self.lost.remove(last)
            self.stop(last)
        self.pool.promise(missing)
        request.blocks += self.pool.take(missing)
        full = request.computed // SIZE
        hashes, parent = request.hashes()[request.full : full], None
        self.pool.store(request.blocks[request.full : full], StoredBlocks(hashes, parent, (), [None] * len(hashes)))
        request.full = full
        request.length += request.computed == request.length
