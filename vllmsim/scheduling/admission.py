# -*- test-case-name: tests.scheduling.test_admission -*-
"""What happens to a request before it may wait: its prompts are tokenized and its limits checked.

As in vLLM this comes before the queue, so that a request which can never be served is told so at once, and in vLLM's
order: the prompt's length, then the limit of the answer, then the sampling parameters.
"""

from collections.abc import Sequence as Several
from itertools import islice
from typing import Final

import attrs
from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Cut, Prompt, TokenizedPrompt
from vllmsim.interfaces import IAdmission, ITokenizer
from vllmsim.sampling import MAX_SEQUENCES, Sampling
from vllmsim.scheduling.mediacache import MediaCache
from vllmsim.scheduling.prompts import PromptReader

_SHOWN: Final = 64
"""How many ids that are no tokens an error names."""


@implementer(IAdmission)
@frozen(eq=False)
class Admission:
    """Reads prompts and checks limits.

    :param max_model_len: the most tokens of a prompt and its answer together.
    :param max_logprobs: the most alternatives a request may ask for; -1 for any number.
    :param media: remembers what prompts have beside text.
    :param max_sequences: the most choices of a prompt.
    """

    _clock: IReactorTime
    _tokenizer: ITokenizer
    _max_model_len: int
    _max_logprobs: int
    media: MediaCache | None = None
    _max_sequences: int = MAX_SEQUENCES
    _reader: PromptReader = field(init=False)

    @_reader.default
    def _make_reader(self) -> PromptReader:
        return PromptReader(self._clock, self._tokenizer, self._max_model_len)

    def speaking(self, tokenizer: ITokenizer) -> "Admission":
        """Make one like this for prompts in other tokens."""
        return attrs.evolve(self, tokenizer=tokenizer)

    async def read(self, prompts: Several[Prompt], cut: Cut | None) -> list[TokenizedPrompt]:
        """Tokenize prompts; see :class:`vllmsim.interfaces.IAdmission`."""
        cuts = () if cut is None else (self._settle(cut),)
        read = await self._reader.read_all((prompt, cuts) for prompt in prompts)
        for prompt in read:
            if prompt.media and self.media is not None:
                self.media.look_up(prompt.media)
        return read

    def _settle(self, cut: Cut) -> Cut:
        if cut.tokens > self._max_model_len:
            raise InvalidParameter(
                f"truncate_prompt_tokens value ({cut.tokens}) is greater than max_model_len ({self._max_model_len}). "
                "Please select a smaller truncation size.",
                "truncate_prompt_tokens",
                cut.tokens,
            )
        return cut if cut.tokens >= 0 else attrs.evolve(cut, tokens=self._max_model_len)

    def bound(self, prompt: TokenizedPrompt, sampling: Sampling) -> Sampling:
        """Settle how long an answer may be; see :class:`vllmsim.interfaces.IAdmission`."""
        return attrs.evolve(sampling, max_tokens=self.limit(prompt, sampling))

    def limit(self, prompt: TokenizedPrompt, sampling: Sampling) -> int:
        """Settle how long an answer may be, and check everything else.

        :return: the most tokens of each choice, at least 1.
        :raises vllmsim.errors.InvalidRequest: for the first parameter out of range.
        """
        asked = sampling.max_tokens
        if asked is not None and asked > self._max_model_len:
            raise InvalidParameter(
                f"max_tokens={asked} cannot be greater than max_model_len={self._max_model_len}. "
                "Please request fewer output tokens.",
                "max_tokens",
                asked,
            )
        remaining = self._max_model_len - len(prompt.ids)
        limit = remaining if asked is None else min(asked, remaining)
        if limit < 1:
            raise InvalidParameter(f"max_tokens must be at least 1, got {limit}.", "max_tokens", limit)
        sampling.check(limit, self._max_sequences)
        self._check_logprobs("sample", "logprobs", sampling.logprobs)
        self._check_logprobs("prompt", "prompt_logprobs", sampling.prompt_logprobs)
        self._check_chosen(sampling)
        if not prompt.ids:
            # A tokenizer may make nothing of a text, and a chat template of a conversation.
            raise InvalidRequest("The decoder prompt cannot be empty")
        return limit

    def _check_logprobs(self, what: str, param: str, asked: int | None) -> None:
        if asked is None or self._max_logprobs < 0:
            return
        wanted = self._tokenizer.vocabulary_size if asked == -1 else asked
        if wanted > self._max_logprobs:
            raise InvalidParameter(
                f"Requested {what} logprobs of {wanted}, which is greater than max allowed: {self._max_logprobs}",
                param,
                wanted,
            )

    def _check_chosen(self, sampling: Sampling) -> None:
        """Check the tokens whose chance the request changes."""
        if sampling.logit_bias and (unknown := self._unknown(sampling.logit_bias)):
            raise InvalidParameter(
                f"token_id(s) {unknown} in logit_bias contain out-of-vocab token ids. "
                f"Vocabulary size: {self._tokenizer.vocabulary_size}",
                "logit_bias",
                unknown,
            )
        allowed = sampling.allowed_token_ids
        if allowed is None:
            return
        if not allowed:
            raise InvalidParameter("allowed_token_ids is not None and empty!", "allowed_token_ids", [])
        if unknown := self._unknown(allowed):
            raise InvalidParameter("allowed_token_ids contains out-of-vocab token id!", "allowed_token_ids", unknown)

    def _unknown(self, ids: Several[int]) -> Several[int]:
        """List ids that are no tokens: the first of them, as there may be hundreds of thousands."""
        return list(islice(self._reader.unknown(ids), _SHOWN))
