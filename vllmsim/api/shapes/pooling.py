# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of what pooling makes: embeddings, classes, scores."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from vllmsim.api.shapes.chat import Usage

Vector = list[float] | str
"""Numbers, or base 64 of them."""


class Embedding(TypedDict):
    """The vector of one input."""

    index: int
    object: Literal["embedding"]
    embedding: Vector


class Embeddings(TypedDict):
    """The vectors of all inputs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Embedding]
    usage: Usage


class Pooling(TypedDict):
    """What a task makes of one input, or of each of its tokens."""

    index: int
    object: Literal["pooling"]
    data: Vector | list[list[float]]


class Poolings(TypedDict):
    """What a task makes of all inputs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Pooling]
    usage: Usage


class Classification(TypedDict):
    """The class of one input."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class Classifications(TypedDict):
    """The classes of all inputs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Classification]
    usage: Usage


class Score(TypedDict):
    """The score of one pair."""

    index: int
    object: Literal["score"]
    score: float


class Scores(TypedDict):
    """The scores of all pairs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: Usage


class RankedDocument(TypedDict):
    """A document as it came."""

    text: str | None
    multi_modal: list[dict[str, Any]] | None


class Ranked(TypedDict):
    """A document and its relevance."""

    index: int
    document: RankedDocument
    relevance_score: float


class RankingUsage(TypedDict):
    """How many tokens were read."""

    prompt_tokens: int
    total_tokens: int


class Ranking(TypedDict):
    """Documents, the most relevant first."""

    id: str
    model: str
    usage: RankingUsage
    results: list[Ranked]


class CohereVectors(TypedDict):
    """The vectors of all inputs, in each type that was asked for."""

    float: NotRequired[list[list[float]]]
    binary: NotRequired[list[list[int]]]
    ubinary: NotRequired[list[list[int]]]
    base64: NotRequired[list[str]]


class CohereVersion(TypedDict):
    """The version of Cohere's API."""

    version: str


class CohereUnits(TypedDict):
    """What would be paid for."""

    input_tokens: int
    image_tokens: int


class CohereMeta(TypedDict):
    """What Cohere tells beside the vectors."""

    api_version: CohereVersion
    billed_units: CohereUnits


class CohereEmbeddings(TypedDict):
    """Vectors as Cohere answers."""

    id: str
    embeddings: CohereVectors
    texts: NotRequired[list[str]]
    meta: CohereMeta
    response_type: Literal["embeddings_by_type"]
