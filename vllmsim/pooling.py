# -*- test-case-name: tests.test_pooling -*-
"""The values of pooling: what is to become vectors, and the vectors."""

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, TypeVar

from attrs import frozen

from vllmsim.inference import Cut, Disturbance, Prompt

PoolingTask: TypeAlias = Literal["embed", "classify", "token_embed", "token_classify", "score"]

LABELS: Final = ("LABEL_0", "LABEL_1")
"""What a text is classified as, named as a model's labels are that nobody has named."""

T = TypeVar("T")


@frozen
class PoolingInput:
    """One prompt.

    :param cuts: how it is shortened before its length is checked, in this order.
    """

    prompt: Prompt
    cuts: tuple[Cut, ...] = ()


@frozen
class PoolingRequest:
    """One call for vectors, probabilities or scores.

    :param task: ``embed`` makes a vector of each input, ``classify`` a probability for each of :data:`LABELS`, the
        tasks ``token_...`` do so for each token of each input, and ``score`` compares inputs.
    :param inputs: the prompts, at least one; for ``score`` first the queries, then the documents.
    :param dimensions: how many numbers a vector has, at least 1; only for ``embed`` and ``token_embed``.
    :param queries: for ``score``, how many of the inputs are queries: one, or one for each document.
    :param activation: whether classes have probabilities; else they have the logits that these are made of.
    :param empty: whether an input may be without tokens.
    :param disturbance: what goes wrong with its time; None for nothing.
    :param behaviour: how it is served, as scheduling knows it; None for how those are that come now.
    """

    task: PoolingTask
    inputs: tuple[PoolingInput, ...]
    dimensions: int = 1
    queries: int = 0
    activation: bool = True
    empty: bool = False
    disturbance: Disturbance | None = None
    behaviour: object = None

    @property
    def by_token(self) -> bool:
        """Whether each token is to have its own numbers."""
        return self.task.startswith("token_")


@frozen(eq=False)
class Pooled:
    """What became of one input, or of one pair for ``score``.

    :param tokens: how many tokens were read.
    :param vectors: the numbers of each token, or one sequence of those of the input; a score is one number.
    :param by_token: whether each token has its own.
    """

    tokens: int
    vectors: Sequence[Sequence[float]]
    by_token: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """How many numbers there are: of each token, or in the one vector."""
        length = len(self.vectors[0])
        return (len(self.vectors), length) if self.by_token else (length,)

    @property
    def numbers(self) -> int:
        """How many numbers there are in all."""
        return math.prod(self.shape)
