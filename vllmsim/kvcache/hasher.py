"""What a KV cache must know of hashes, and no more."""

from collections.abc import Sequence
from typing import Any, Protocol

from vllmsim.inference import HashedPrompt, InferenceRequest, TokenizedPrompt


class BlockHasher(Protocol):
    """Hashes blocks."""

    async def hash(self, prompt: TokenizedPrompt, request: InferenceRequest) -> HashedPrompt:
        """Hash the full blocks of a prompt, letting other events in between."""

    def extend(self, prompt: HashedPrompt, number: int, parent: bytes | None, ids: Sequence[int]) -> bytes:
        """Hash a block that has tokens of an answer.

        :param prompt: what is answered.
        :param number: which block of the sequence it is, from 0; it is none of the prompt's full ones.
        :param parent: the hash of the block before it; None for a sequence's first.
        :param ids: its tokens.
        """

    def keys_of(self, prompt: HashedPrompt, number: int) -> tuple[Any, ...] | None:
        """Tell what is hashed beside the tokens of such a block, as events tell it."""
