# -*- test-case-name: tests.tokenization.render.test_routes -*-
"""The routes of a vLLM render service, and the shapes of their bodies.

- ``POST /v1/completions/render`` takes ``prompt`` and ``add_special_tokens``, and answers with a list of generate
  requests, one for each prompt, whose ``token_ids`` are the prompt's.
- ``POST /v1/chat/completions/render`` takes ``messages``, ``tools``, ``documents`` and what there is to say of the chat
  template, and answers with one generate request. If there are media, its ``features`` have their hashes and places.
- ``POST /tokenize`` takes either, and answers with ``tokens`` and, as ``token_strs``, how the vocabulary spells them.
- ``POST /detokenize`` takes ``tokens`` and answers with the text as ``prompt``.
- ``GET /tokenizer_info`` answers with how the tokenizer was made.

All but the first two may be missing.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from attrs import frozen

from vllmsim.inference import Conversation, Span
from vllmsim.tokenization.render.service import NoSuchRoute, RenderService

_IDS: Final = 1 << 32
_ID_LENGTH: Final = 8


@frozen
class RenderTimeouts:
    """How long the service may take, in seconds.

    :param media: for prompts with media.
    """

    text: float
    media: float


@frozen
class Question:
    """Something that is to be tokens.

    :param path: where it is rendered.
    :param body: what is posted there.
    :param within: how long that may take, in seconds.
    :param size: about how many bytes it has.
    """

    path: str
    body: Mapping[str, Any]
    within: float
    size: int


@frozen
class Rendered:
    """A prompt as the service renders it.

    :param ids: its tokens.
    :param media: what some of them stand for.
    """

    ids: Sequence[int]
    media: tuple[Span, ...] = ()


@frozen(eq=False)
class RenderRoutes:
    """Asks a render service.

    Each question raises what :meth:`RenderService.ask` raises, but for what is told of missing routes.

    :param model: the model's name there.
    """

    _service: RenderService
    _model: str
    _timeouts: RenderTimeouts

    def text(self, text: str, *, special: bool) -> Question:
        """Make a question of a text.

        :param special: whether special tokens are added.
        """
        body = {"model": self._model, "prompt": text, "add_special_tokens": special}
        return Question("/v1/completions/render", body, self._timeouts.text, len(text))

    def conversation(self, conversation: Conversation) -> Question:
        """Make a question of a conversation."""
        media, template = conversation.media, conversation.template
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [dict(message.turn) for message in conversation.messages],
            "add_generation_prompt": template.begins,
            "continue_final_message": template.goes_on,
            "add_special_tokens": template.special,
        }
        if template.source is not None:
            body["chat_template"] = template.source
        if template.tools is not None:
            # They are in the prompt all the same, and the service need not be able to find calls of them.
            body |= {"tools": template.tools, "tool_choice": "none"}
        if template.documents is not None:
            body["documents"] = template.documents
        if template.arguments:
            body["chat_template_kwargs"] = template.arguments
        size = sum(len(message.text) for message in conversation.messages) + sum(len(each.source) for each in media)
        return Question(
            "/v1/chat/completions/render", body, self._timeouts.media if media else self._timeouts.text, size
        )

    async def render(self, question: Question) -> Rendered:
        """Ask which tokens a prompt has, and what they stand for."""
        # The service looks whether there is room for an answer too.
        body = {**question.body, "max_tokens": 1}
        return await self._service.ask(question.path, body, _read_rendered, within=question.within, size=question.size)

    async def tokenize(self, question: Question) -> tuple[Sequence[int], Sequence[str] | None] | None:
        """Ask which tokens something has, and how they are spelled.

        :return: both, the latter if it is told; None when the service has no such route.
        """
        body = {**question.body, "return_token_strs": True}
        try:
            return await self._service.ask(
                "/tokenize", body, _read_tokenized, within=question.within, size=question.size
            )
        except NoSuchRoute:
            return None

    async def detokenize(self, ids: Sequence[int]) -> str | None:
        """Ask for the text of tokens.

        :return: it, or None when the service has no such route.
        """
        body, size = {"model": self._model, "tokens": list(ids)}, _ID_LENGTH * len(ids)
        try:
            return await self._service.ask("/detokenize", body, _read_text, within=self._timeouts.text, size=size)
        except NoSuchRoute:
            return None

    async def describe(self) -> Mapping[str, Any] | None:
        """Ask how the tokenizer was made.

        :return: what is told, or None when the service has no such route.
        """
        try:
            return await self._service.ask("/tokenizer_info", None, _read_object, within=self._timeouts.text)
        except NoSuchRoute:
            return None

    async def close(self) -> None:
        """Close the connections to the service."""
        await self._service.close()


def _read_object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("it is no object")
    return value


def _read_ids(value: Any) -> Sequence[int]:
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise ValueError("it has no list of tokens")
    if value and not 0 <= min(value) <= max(value) < _IDS:
        raise ValueError("it has tokens that are none")
    return value


def _read_rendered(value: Any) -> Rendered:
    if isinstance(value, list):
        if not value:
            raise ValueError("it is an empty list")
        value = value[0]
    rendered = _read_object(value)
    ids = _read_ids(rendered.get("token_ids"))
    return Rendered(ids, _read_media(rendered.get("features"), len(ids)))


def _read_media(features: Any, length: int) -> tuple[Span, ...]:
    """Find media that have a hash and tokens of their own; what is said of others is of no use.

    :param length: how many tokens there are.
    """
    if not isinstance(features, Mapping):
        return ()
    hashes, places = features.get("mm_hashes"), features.get("mm_placeholders")
    if not isinstance(hashes, Mapping) or not isinstance(places, Mapping):
        return ()
    found: list[Span] = []
    for kind, named in hashes.items():
        placed = places.get(kind)
        if isinstance(named, list) and isinstance(placed, list):
            found += [
                span for each in zip(named, placed, strict=False) if (span := _read_span(*each, kind)) is not None
            ]
    end, media = 0, []
    for span in sorted(found, key=attrgetter("offset")):
        if end <= span.offset and span.offset + span.length <= length:
            media.append(span)
            end = span.offset + span.length
    return tuple(media)


def _read_span(identifier: Any, place: Any, kind: str) -> Span | None:
    if not isinstance(identifier, str) or not isinstance(place, Mapping):
        return None
    offset, length = place.get("offset"), place.get("length")
    if type(offset) is not int or type(length) is not int or offset < 0 or length < 1:
        return None
    return Span(identifier, offset, length, kind)


def _read_tokenized(value: Any) -> tuple[Sequence[int], Sequence[str] | None]:
    answer = _read_object(value)
    ids, pieces = _read_ids(answer.get("tokens")), answer.get("token_strs")
    told = isinstance(pieces, list) and len(pieces) == len(ids) and all(isinstance(each, str) for each in pieces)
    return ids, pieces if told else None


def _read_text(value: Any) -> str:
    text = _read_object(value).get("prompt")
    if not isinstance(text, str):
        raise ValueError("it has no text")
    return text
