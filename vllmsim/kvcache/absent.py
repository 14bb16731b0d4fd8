# -*- test-case-name: tests.kvcache.test_absent -*-
"""No KV cache at all: room for everyone, nothing is found again."""

from collections.abc import Sequence
from typing import ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from vllmsim.inference import Adapter, HashedPrompt, InferenceRequest, Prefill, TokenizedPrompt
from vllmsim.interfaces import ICacheMetrics, IKVCache, ISequenceBlocks


@implementer(ISequenceBlocks)
@define(eq=False)
class NoBlocks:
    """What a sequence has where there are no blocks.

    :param prefill: where the prompt's tokens come from.
    """

    prefill: Prefill
    _holders: "set[NoBlocks]"

    def grow(self, tokens: int) -> None:
        """Take nothing."""

    def release(self) -> None:
        """Give nothing back."""
        self._holders.discard(self)


@implementer(IKVCache)
@define(eq=False)
class NoCache:
    """Stands where no KV cache is simulated.

    :param metrics: hears of what is fetched from other servers, if that is of interest.
    :param rank: the data-parallel rank whose it is.
    """

    capacity: ClassVar[int | None] = None
    usage: ClassVar[float] = 0.0
    blocks: ClassVar[tuple[int, int]] = (0, 0)
    _metrics: ICacheMetrics | None = None
    _rank: int = 0
    _holders: set[NoBlocks] = field(init=False, factory=set)

    @property
    def running(self) -> int:
        """How many sequences run."""
        return len(self._holders)

    async def hash(self, prompt: TokenizedPrompt, request: InferenceRequest) -> HashedPrompt:
        """Hash nothing."""
        return HashedPrompt(prompt.ids)

    def allocate(
        self, prompt: HashedPrompt, answer: Sequence[int], reads: bool, remote_tokens: int
    ) -> Deferred[ISequenceBlocks]:
        """Let everyone in; see :class:`vllmsim.interfaces.IKVCache`."""
        # As in vLLM the last token of a prompt is computed in any case: that gives the first token of the answer.
        external = max(0, min(remote_tokens, len(prompt.ids) - 1)) if reads else 0
        if remote_tokens and self._metrics is not None:
            self._metrics.external_looked_up(len(prompt.ids), external)
        blocks = NoBlocks(Prefill(len(prompt.ids), external=external, rank=self._rank), self._holders)
        self._holders.add(blocks)
        return succeed(blocks)

    def reset(self, running: bool) -> bool:
        """Forget nothing, where vLLM could forget something."""
        return running or not self._holders

    def forget(self, adapter: Adapter) -> None:
        """Forget nothing."""

    def occupy(self, share: float) -> float:
        """Occupy nothing: there are no blocks."""
        return 0.0
