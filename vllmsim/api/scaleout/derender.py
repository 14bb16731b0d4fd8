# -*- test-case-name: tests.api.scaleout.test_derender -*-
"""The derender routes: generated token ids become the chat completion or completion that they would have been.

The other half of the render routes, as vLLM 0.33 reads it. ``/v1/chat/completions/derender`` takes
``generate_response``, the whole answer of ``/inference/v1/generate``, with the ``chat_request`` that was rendered;
``/v1/completions/derender`` takes ``generate_responses``, one for each prompt. Beside them there may be ``model``,
``prompt_tokens`` for the usage, and ``prompt_token_ids``. Just answers whose ``output_mode`` is ``tokens`` are taken:
others are text already.

With ``chat_request`` reasoning and calls of tools are told from the rest, without it everything is text.

With ``stream`` the body has one chunk of a streamed answer; :mod:`vllmsim.api.scaleout.derenderstream` reads it.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, Self

from attrs import frozen
from pydantic import model_validator

from vllmsim.api.body import Body, Head, Listed, read_object, validate
from vllmsim.api.chat import ChatBody
from vllmsim.api.chatanswer import ChatWhole
from vllmsim.api.completions import CompletionBody
from vllmsim.api.dialect import Settings, usage
from vllmsim.api.scaleout.derenderstream import ChatChunkBody, CompletionChunkBody, chat_chunk, completion_chunk
from vllmsim.api.scaleout.given import Bounds, Conversed, Count, GivenAnswer, GivenChoice, TokenId, converse
from vllmsim.api.scaleout.reading import Words
from vllmsim.api.scaleout.render import repeat
from vllmsim.errors import InvalidRequest
from vllmsim.inference import NOT_PREFILLED, TextPrompt, TokenizedPrompt


class DerenderChatBody(Body):
    """A generate response that is to be a chat completion."""

    stream: Literal[False] = False
    model: str | None = None
    generate_response: GivenAnswer
    prompt_tokens: Count | None = None
    prompt_token_ids: Listed[TokenId] | None = None
    chat_request: ChatBody | None = None


class DerenderCompletionBody(Body):
    """Generate responses, one for each prompt, that are to be a completion."""

    stream: Literal[False] = False
    model: str | None = None
    generate_responses: Listed[GivenAnswer]
    prompt_tokens: Listed[Count] | None = None
    prompt_token_ids: Listed[Listed[TokenId] | None] | None = None
    completion_request: CompletionBody | None = None

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        expected = len(self.generate_responses)
        for name in ("prompt_tokens", "prompt_token_ids"):
            given = getattr(self, name)
            if given is not None and len(given) != expected:
                raise ValueError(f"{name} length ({len(given)}) must equal generate_responses length ({expected})")
        return self


class DerenderDialect(Protocol):
    """One API surface whose answers can be made of token ids."""

    def answer(self, body: bytes, head: Head) -> bytes:
        """Read a request and write its answer, which needs no reactor and may be done in any thread.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """


@frozen(eq=False)
class ChatDerenderer:
    """Makes chat completions of token ids."""

    _settings: Settings
    _words: Words
    _bounds: Bounds

    def answer(self, body: bytes, head: Head) -> bytes:
        """Answer a request; see :class:`DerenderDialect`."""
        data, settings = read_object(body, head), self._settings
        if data.get("stream") is True:
            chunk = validate(ChatChunkBody, data, body)
            conversed = converse(settings, settings.models.resolve(chunk.model), chunk.chat_request)
            self._bounds.check_stream(chunk.generate_chunk.choices, chunk.state.output_token_ids)
            return chat_chunk(chunk, conversed, self._words)
        asked = validate(DerenderChatBody, data, body)
        model = settings.models.resolve(asked.model)
        self._bounds.check([asked.generate_response])
        return self._write(asked, converse(settings, model, asked.chat_request))

    def _write(self, asked: DerenderChatBody, conversed: Conversed) -> bytes:
        given, reading, words = asked.generate_response, conversed.reading, self._words
        answers = [
            words.answer(_required(choice), reasons=conversed.reasons, tools=conversed.tools)
            for choice in given.choices
        ]
        ids = asked.prompt_token_ids or given.prompt_token_ids
        prompt = TokenizedPrompt(TextPrompt(""), "", ids or (), ())
        value = ChatWhole(reading).value([prompt], NOT_PREFILLED, answers)
        for member, choice in zip(value["choices"], given.choices, strict=True):
            member["index"] = choice.index
            member["logprobs"] = words.chat_logprobs(choice.logprobs)
            if member["finish_reason"] != "tool_calls" or choice.finish_reason != "stop":
                member["finish_reason"] = choice.finish_reason or "stop"
            member["stop_reason"] = choice.stop_reason
        return repeat(
            value
            | {
                "id": given.request_id,
                "system_fingerprint": None,
                "usage": usage(asked.prompt_tokens or 0, _size([given]), nulls=True),
                "prompt_logprobs": given.prompt_logprobs,
                "kv_transfer_params": given.kv_transfer_params,
            }
        )


@frozen(eq=False)
class CompletionDerenderer:
    """Makes completions of token ids."""

    _settings: Settings
    _words: Words
    _bounds: Bounds

    def answer(self, body: bytes, head: Head) -> bytes:
        """Answer a request; see :class:`DerenderDialect`."""
        data, settings = read_object(body, head), self._settings
        if data.get("stream") is True:
            chunk = validate(CompletionChunkBody, data, body)
            model = settings.models.resolve(chunk.model)
            self._bounds.check_stream(chunk.generate_chunk.choices)
            return completion_chunk(chunk, model, settings.now(), self._words)
        asked = validate(DerenderCompletionBody, data, body)
        model = settings.models.resolve(asked.model)
        if not asked.generate_responses:
            raise InvalidRequest("generate_responses must not be empty")
        self._bounds.check(asked.generate_responses)
        return self._write(asked, model)

    def _write(self, asked: DerenderCompletionBody, model: str) -> bytes:
        given, first = asked.generate_responses, asked.generate_responses[0]
        wants_ids = asked.completion_request is not None and bool(asked.completion_request.return_token_ids)
        choices: list[dict[str, Any]] = []
        for number, answer in enumerate(given):
            ids = (asked.prompt_token_ids or [None] * len(given))[number] or answer.prompt_token_ids
            choices += [
                self._choice(len(choices) + i, each, answer, ids if wants_ids else None, wants_ids=wants_ids)
                for i, each in enumerate(answer.choices)
            ]
        transfer = first.kv_transfer_params
        return repeat(
            {
                "id": first.request_id,
                "object": "text_completion",
                "created": self._settings.now(),
                "model": model,
                "choices": choices,
                "service_tier": None,
                "system_fingerprint": None,
                "usage": usage(sum(asked.prompt_tokens or ()), _size(given), nulls=True),
                "kv_transfer_params": transfer if all(each.kv_transfer_params == transfer for each in given) else None,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def _choice(
        self, index: int, choice: GivenChoice, answer: GivenAnswer, prompt_ids: Sequence[int] | None, *, wants_ids: bool
    ) -> dict[str, Any]:
        ids = _required(choice)
        return {
            "index": index,
            "text": "".join(self._words.texts(ids)),
            "logprobs": self._words.text_logprobs(choice.logprobs, 0),
            "finish_reason": choice.finish_reason or "stop",
            "stop_reason": choice.stop_reason,
            "token_ids": ids if wants_ids else None,
            "prompt_logprobs": answer.prompt_logprobs,
            "prompt_token_ids": prompt_ids,
            "routed_experts": None,
            "weight_versions": None,
        }


def _required(choice: GivenChoice) -> list[int]:
    """Take the token ids of a choice.

    :raises InvalidRequest: when there are none.
    """
    if not choice.ids:
        raise InvalidRequest(f"Choice {choice.index} has no token_ids.")
    return choice.ids


def _size(answers: Sequence[GivenAnswer]) -> int:
    return sum(len(choice.ids) for answer in answers for choice in answer.choices)
