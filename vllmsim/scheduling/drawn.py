# -*- test-case-name: tests.scheduling.test_generation -*-
"""Sequences whose times are their own: each has times drawn for it alone, and all its blocks promised before it begins.

That is the per-request model. What else runs counts only as a number.
"""

from collections.abc import Callable
from typing import ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred

from vllmsim.inference import Answer, Prefill
from vllmsim.interfaces import IKVCache, ISequenceBlocks
from vllmsim.scheduling.decode import Decode, DisturbedDecode
from vllmsim.scheduling.fetching import Fetch, fetching_time
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.sequence import Sequence


@define(eq=False)
class DrawnCourse:
    """The course of a sequence in a slot.

    :param running: tells how many sequences run now.
    """

    preemptions: ClassVar[int] = 0
    _model: Model
    _cache: IKVCache
    _running: Callable[[], int]
    _sequence: Sequence
    _blocks: ISequenceBlocks | None = field(init=False, default=None)
    _fetch: Fetch | None = field(init=False, default=None)

    def enter(self, answer: Answer) -> Deferred[Prefill]:
        """Wait until there are blocks for everything; see :class:`vllmsim.scheduling.course.Course`."""
        sequence = self._sequence
        reads, remote = sequence.submission.request.reads_cache, sequence.remote_tokens
        return self._cache.allocate(sequence.hashed, answer.ids, reads, remote).addCallback(self._have)

    def speak(self, answer: Answer, begun: float) -> Decode:
        """Draw when the tokens are due."""
        sequence, prefill, disturbance = self._sequence, answer.prefill, self._sequence.submission.request.disturbance
        assert self._blocks is not None
        due, image = begun, 0.0
        if not answer.refused:
            computing, fetching = self._times_to_first_token(prefill)
            due = max(begun, sequence.ready) + computing + fetching
            sequence.submission.record.prefill_planned(computing + fetching)
            if sequence.submission.request.remote_prefill and prefill.external:
                self._fetch = Fetch(self._model.metrics, prefill, fetching)
            image = sequence.draw_image_time()
        if disturbance is None or answer.refused:
            return Decode(self._model, sequence, answer, self._fetch, self._blocks, due, image, self._running)
        return DisturbedDecode(
            self._model, sequence, answer, self._fetch, self._blocks, due, image, self._running, disturbance=disturbance
        )

    def leave(self) -> None:
        """Give up what is fetched, and give the blocks back."""
        if self._fetch is not None:
            self._fetch.give_up()
        if self._blocks is not None:
            self._blocks.release()

    def _have(self, blocks: ISequenceBlocks) -> Prefill:
        self._blocks = blocks
        prefill: Prefill = blocks.prefill
        return prefill

    def _times_to_first_token(self, prefill: Prefill) -> tuple[float, float]:
        """Draw how long it takes to compute a prompt, and how long to fetch what others have of it.

        Where another server has run the prefill, there is nothing but the transfer of the whole prompt. Where it has
        not come so far, or where a cache outside has some blocks, the rest is computed as ever.
        """
        sequence, running = self._sequence, self._running()
        if sequence.submission.request.remote_prefill and prefill.computed <= 1:
            return 0.0, fetching_time(sequence, prefill, running)
        latency, generator = sequence.submission.behaviour.latency, sequence.generator
        computing = latency.time_to_first_token(prefill.tokens, prefill.found, False, running, generator)
        return computing, fetching_time(sequence, prefill, running) if prefill.external else 0.0
