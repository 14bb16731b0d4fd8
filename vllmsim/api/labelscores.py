# -*- test-case-name: tests.api.test_labelscores -*-
"""``/generative_scoring``: how likely some tokens are as the next one, as vLLM 0.33 reads and writes it.

A prompt is made of the query and each item, and the model takes one step on each. An item's score is the probability
of the first label token: among the label tokens alone, or with ``apply_softmax: false`` among all tokens. A simulator
has to invent it, from the prompt and the label alone: equal requests have equal scores on every server.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import partial
from typing import Final

import orjson
from attrs import frozen

from vllmsim.api.body import Body, Head, Listed, read_object, validate
from vllmsim.api.dialect import Call, Settings, request_of, usage
from vllmsim.api.sampling import Int64
from vllmsim.api.thresholds import NEVER
from vllmsim.api.transfer import NO_TRANSFER, Transfer
from vllmsim.errors import InvalidParameter, InvalidRequest, Unavailable
from vllmsim.inference import Answer, InferenceRequest, Prefill, TokenizedPrompt, TokenPrompt
from vllmsim.sampling import Sampling

_PREFIX: Final = "generative-scoring"
_MOST_ITEMS: Final = 1024
_MOST_LABELS: Final = 1024
_MOST_TOKENS: Final = 1 << 20
"""How many tokens all prompts may have together: each has the query's, and a body of megabytes many items."""
_LIKELIEST: Final = -1.0
_SPREAD: Final = 9.0


class ScoringBody(Body):
    """A scoring request."""

    model: str | None = None
    query: str | Listed[int]
    items: Listed[str] | Listed[Listed[int]]
    label_token_ids: Listed[int]
    apply_softmax: bool = True
    item_first: bool = False
    add_special_tokens: bool = True
    priority: Int64 = 0
    request_id: str | None = None

    @property
    def transfer(self) -> Transfer:
        """What is to become of the prompts' KV blocks: nothing."""
        return NO_TRANSFER

    @property
    def cache_salt(self) -> str | None:
        """Who shares KV blocks with it: every request without a salt."""
        return None


@frozen(eq=False)
class LabelScoreDialect:
    """Reads scoring requests.

    :param max_model_len: the most tokens of a prompt and the one token that follows it.
    :param vocabulary_size: every label is below it.
    """

    _settings: Settings
    _max_model_len: int
    _vocabulary_size: int

    def read(self, body: bytes, head: Head) -> "Scoring":
        """Read a request.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """
        asked = validate(ScoringBody, read_object(body, head), body)
        model = self._settings.models.resolve(asked.model)
        if len(asked.label_token_ids) > _MOST_LABELS:
            raise InvalidParameter(
                f"At most {_MOST_LABELS} labels are allowed, got {len(asked.label_token_ids)}.", "label_token_ids"
            )
        for label in asked.label_token_ids:
            if not 0 <= label < self._vocabulary_size:
                raise InvalidRequest(
                    f"label_token_id {label} is out of vocabulary range [0, {self._vocabulary_size}). "
                    "Please provide valid token IDs."
                )
        if not asked.label_token_ids:
            raise InvalidRequest("label_token_ids must contain at least one token ID.")
        if not asked.items:
            raise InvalidRequest("items must contain at least one item.")
        if len(asked.items) > _MOST_ITEMS:
            raise InvalidParameter(f"At most {_MOST_ITEMS} items are allowed, got {len(asked.items)}.", "items")
        return Scoring(self._settings, asked, head, model, self._max_model_len - 1)


@frozen(eq=False)
class Scoring:
    """A request that has been read, and whose texts are not tokens yet.

    :param limit: the most tokens of a prompt; what is more is cut off.
    """

    _settings: Settings
    _body: ScoringBody
    _head: Head
    _model: str
    limit: int

    @property
    def query(self) -> str | list[int]:
        """The query, as text or token ids."""
        return self._body.query

    @property
    def special(self) -> bool:
        """Whether special tokens are put around a query that is text."""
        return self._body.add_special_tokens

    @property
    def items(self) -> Sequence[str | list[int]]:
        """The items, each as text or token ids."""
        return self._body.items

    def join(self, query: Sequence[int], item: Sequence[int]) -> TokenPrompt:
        """Make the prompt of an item."""
        first, second = (item, query) if self._body.item_first else (query, item)
        return TokenPrompt((*first, *second)[: self.limit])

    def check(self, tokens: int) -> None:
        """Check how many tokens all prompts have.

        :raises InvalidParameter: when these are too many.
        """
        if tokens > _MOST_TOKENS:
            raise InvalidParameter(f"The prompts of all items have more than {_MOST_TOKENS} tokens.", "items")

    def call(self, prompts: Sequence[TokenPrompt]) -> Call:
        """Make the call that takes a step on each prompt."""
        body = self._body
        sampling = Sampling(max_tokens=1, logprobs=len(body.label_token_ids))
        request = request_of(
            self._settings, self._head, body, self._model, tuple(prompts), sampling, _PREFIX, threshold=NEVER
        )
        return Call(request, None, partial(LabelScores, body, request, self._settings.now()))


@frozen(eq=False)
class LabelScores:
    """Writes scores.

    :param created: the time that the answer tells, in seconds since the epoch.
    """

    _body: ScoringBody
    _request: InferenceRequest
    _created: int

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the answer with every member of vLLM's model, nulls among them.

        :raises Unavailable: when an operator has ended the step on one of the prompts, which has no score then.
        """
        if any(answer.finish_reason == "abort" for answer in answers):
            raise Unavailable("The request was aborted before all items were scored.")
        body, request = self._body, self._request
        scores = [score(prompt.ids, body.label_token_ids, among_labels=body.apply_softmax) for prompt in prompts]
        return orjson.dumps(
            {
                "id": request.answer_id,
                "object": "list",
                "created": self._created,
                "model": request.model,
                "data": [{"index": i, "object": "score", "score": each} for i, each in enumerate(scores)],
                "usage": usage(sum(len(prompt.ids) for prompt in prompts), sum(map(len, answers)), nulls=True),
            }
        )


def score(prompt: Sequence[int], labels: Sequence[int], *, among_labels: bool) -> float:
    """Invent how likely the first label is after a prompt.

    :param among_labels: whether nothing but a label can follow.
    :return: from 0 to 1.
    """
    begin = hashlib.blake2b(orjson.dumps(list(prompt)), digest_size=8)
    logprobs = {label: _logprob(begin, label) for label in labels}
    first = logprobs[labels[0]]
    return 1 / sum(math.exp(each - first) for each in logprobs.values()) if among_labels else math.exp(first)


def _logprob(begin: "hashlib.blake2b", label: int) -> float:
    """Invent a log probability.

    :param begin: the hash of the prompt.
    """
    hashed = begin.copy()
    hashed.update(label.to_bytes(8, "little"))
    return _LIKELIEST - _SPREAD * int.from_bytes(hashed.digest(), "little") / 2**64
