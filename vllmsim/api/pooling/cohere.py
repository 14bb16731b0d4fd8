# -*- test-case-name: tests.api.pooling.test_cohere -*-
"""``/v2/embed``: Cohere's embedding API, as vLLM 0.33 reads and writes it.

A request has texts, images, or inputs that mix both. The answer has the vectors in each of the types asked for:
numbers, base 64 of 32-bit floats, or one bit for each number, eight to a byte, as bytes from 0 (``ubinary``) or from
-128 (``binary``). Inputs that are longer than the context are cut unless the request forbids it.
"""

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

import orjson
from attrs import frozen
from pydantic import Field, model_validator

from vllmsim.api.body import Body, Head, Listed, read_object, validate
from vllmsim.api.conversation import ChatMessage, conversation_of
from vllmsim.api.pooling.embeddings import check_dimensions
from vllmsim.api.pooling.inputs import PoolingBody, PoolingCall, PoolingReading, PoolingSettings, Reply, check_counts
from vllmsim.api.pooling.vectors import dump, pack
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Cut, Prompt, TextPrompt
from vllmsim.pooling import Pooled, PoolingRequest

_INPUT_TYPES: Final = ("classification", "clustering", "image", "search_document", "search_query")
_MOST_PARTS: Final = 1024
_BITS: Final = 8
_SIGN: Final = 128


class CoherePart(Body):
    """A piece of an input."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: dict[str, str] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.type == "text" and self.text is None:
            raise ValueError("content of type 'text' needs a text")
        if self.type == "image_url" and not (self.image_url or {}).get("url"):
            raise ValueError("content of type 'image_url' needs image_url.url")
        return self


class CohereInput(Body):
    """An input of several pieces."""

    content: Annotated[Listed[CoherePart], Field(max_length=_MOST_PARTS)]


class CohereBody(Body):
    """A Cohere embedding request."""

    model: str | None = None
    input_type: str | None = None
    texts: Listed[str] | None = None
    images: Listed[str] | None = None
    inputs: Listed[CohereInput] | None = None
    output_dimension: int | None = None
    embedding_types: Listed[Literal["float", "binary", "ubinary", "base64"]] | None = None
    truncate: Literal["NONE", "START", "END"] = "END"
    max_tokens: int | None = None
    priority: int = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [each for each in (self.texts, self.images, self.inputs) if each is not None]
        if len(given) != 1 or not given[0]:
            raise ValueError("Exactly one of texts, images, or inputs must be provided, and it must be non-empty")
        return self

    @property
    def pictured(self) -> bool:
        """Whether there are images."""
        return self.images is not None or any(
            part.type == "image_url" for each in self.inputs or () for part in each.content
        )

    def prompts(self) -> list[Prompt]:
        """List the inputs; those with images are conversations."""
        if self.texts is not None:
            return [TextPrompt(text) for text in self.texts]
        if self.images is not None:
            return [_talk([{"type": "image_url", "image_url": {"url": image}}]) for image in self.images]
        return [_talk([part.model_dump(exclude_none=True) for part in each.content]) for each in self.inputs or ()]


def _talk(blocks: list[str | dict[str, Any]]) -> Prompt:
    return conversation_of([ChatMessage(role="user", content=blocks)])


@frozen(eq=False)
class CohereDialect:
    """Reads Cohere embedding requests."""

    _settings: PoolingSettings

    def parse(self, body: bytes, head: Head) -> PoolingCall:
        """Read a request; see :class:`vllmsim.api.pooling.inputs.PoolingDialect`."""
        settings = self._settings
        data = read_object(body, head)
        check_counts(data, "texts", "images", "inputs")
        read = validate(CohereBody, data, body)
        reading = settings.reading("embd", head, PoolingBody(model=read.model))
        if read.input_type is not None and read.input_type not in _INPUT_TYPES:
            raise InvalidRequest(
                f"Unsupported input_type {read.input_type!r}. Supported values: {', '.join(_INPUT_TYPES)}"
            )
        dimensions = settings.dimensions
        if read.output_dimension is not None:
            dimensions = check_dimensions(read.output_dimension, "output_dimension")
        if dimensions % _BITS and {"binary", "ubinary"}.intersection(read.embedding_types or ()):
            raise InvalidRequest(
                f"Embedding dimension must be a multiple of 8 for binary embedding types, but got {dimensions}."
            )
        request = PoolingRequest(
            "embed",
            settings.inputs(read.prompts(), self._cuts(read)),
            dimensions,
            behaviour=settings.settings.behaviour,
        )
        return PoolingCall(request, CohereWriter(reading, read), reading)

    def _cuts(self, body: CohereBody) -> tuple[Cut, ...]:
        most, limit = self._settings.max_model_len, body.max_tokens
        if body.truncate == "NONE":
            return ()
        if limit is not None and not 0 <= limit <= most:
            raise InvalidParameter(f"max_tokens must be from 0 to {most}, got {limit}.", "max_tokens", limit)
        return (Cut(most if limit is None else limit, "left" if body.truncate == "START" else "right"),)


@frozen(eq=False)
class CohereWriter:
    """Writes vectors in the types that are asked for."""

    _reading: PoolingReading
    _body: CohereBody

    def __call__(self, pooled: Sequence[Pooled]) -> Reply:
        """Write the answer.

        :raises InvalidRequest: when an input is longer than it may be, and must not be cut.
        """
        body = self._body
        if body.truncate == "NONE" and body.max_tokens is not None:
            for each in pooled:
                _check_length(each.tokens, body.max_tokens)
        wanted = body.embedding_types or ["float"]
        pieces = [b'{"id":%s,"embeddings":{' % orjson.dumps(self._reading.id)]
        for kind in ("float", "binary", "ubinary", "base64"):
            if kind in wanted:
                pieces.append(b'"%s":[' % kind.encode())
                for each in pooled:
                    pieces += (_write(each.vectors[0], kind), b",")
                pieces[-1] = b"]"
                pieces.append(b",")
        tokens = self._reading.tokens(pooled)
        rest: dict[str, Any] = {} if body.texts is None else {"texts": body.texts}
        rest["meta"] = {
            "api_version": {"version": "2"},
            "billed_units": {
                "input_tokens": 0 if body.pictured else tokens,
                "image_tokens": tokens if body.pictured else 0,
            },
        }
        rest["response_type"] = "embeddings_by_type"
        pieces[-1] = b"},%s" % orjson.dumps(rest)[1:]
        return Reply(pieces)


def _check_length(tokens: int, most: int) -> None:
    if tokens > most:
        raise InvalidRequest(
            f"Input of {tokens} tokens exceeds max_tokens={most} with truncate=NONE. "
            "Set truncate to END or START to allow truncation."
        )


def _write(numbers: Sequence[float], kind: str) -> bytes:
    if kind == "float":
        return dump(numbers)
    if kind == "base64":
        return b'"%s"' % base64.b64encode(pack(numbers, "float32", "little"))
    bits = int("".join("1" if number >= 0 else "0" for number in numbers), 2)
    packed = bits.to_bytes(len(numbers) // _BITS, "big")
    return orjson.dumps([byte - _SIGN for byte in packed] if kind == "binary" else list(packed))
