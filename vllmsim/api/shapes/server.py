# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of what the server tells about itself."""

from typing import Literal

from typing_extensions import TypedDict


class Nothing(TypedDict):
    """An object without members."""


class Version(TypedDict):
    """The release of vLLM."""

    version: str


class ModelPermission(TypedDict):
    """What may be done with a model."""

    id: str
    object: Literal["model_permission"]
    created: int
    allow_create_engine: bool
    allow_sampling: bool
    allow_logprobs: bool
    allow_search_indices: bool
    allow_view: bool
    allow_fine_tuning: bool
    organization: str
    group: str | None
    is_blocking: bool


class ModelCard(TypedDict):
    """A name that requests may use."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str | None
    parent: str | None
    max_model_len: int | None
    permission: list[ModelPermission]


class ModelCards(TypedDict):
    """Every name that requests may use."""

    object: Literal["list"]
    data: list[ModelCard]


class Tokenized(TypedDict):
    """The tokens of a text."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class Detokenized(TypedDict):
    """The text of some tokens."""

    prompt: str


class Load(TypedDict):
    """How many requests are not answered yet."""

    server_load: int


class EngineEntry(TypedDict):
    """A rank as Mooncake's peers know it: its id, and the address of each worker by its tensor and pipeline rank."""

    engine_id: str
    worker_addr: dict[str, dict[str, str]]
