# -*- test-case-name: tests.api.test_completions -*-
"""Text completions, as vLLM 0.33 reads and writes them.

The prompt is a text, a list of texts, a list of token ids, or a list of such lists. Choice ``i`` answers prompt
``i // n``. A stream has no opening chunk; every chunk's choice has the same eight members.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from attrs import frozen

from vllmsim.api.body import Head, read_object, validate
from vllmsim.api.chunks import ChunkStream
from vllmsim.api.dialect import Call, Settings, prompt_details, usage
from vllmsim.api.logprobs import Shower
from vllmsim.api.sampling import SamplingBody, check_logprobs, check_options
from vllmsim.errors import InvalidParameter, InvalidRequest, Unsupported
from vllmsim.inference import Answer, InferenceRequest, Prompt, TextPrompt, TokenizedPrompt, TokenPrompt

_MOST_PROMPTS: Final = 1024
_DEFAULT_MAX_TOKENS: Final = 16


class CompletionBody(SamplingBody):
    """A completion request."""

    prompt: str | list[str] | list[int] | list[list[int]] | None = None
    prompt_embeds: Any = None
    best_of: int | None = None
    logprobs: int | None = None
    max_tokens: int | None = _DEFAULT_MAX_TOKENS
    suffix: str | None = None

    def prompts(self) -> tuple[Prompt, ...]:
        """List the prompts, whichever of the four forms they have.

        :raises InvalidRequest: when there is none, one is empty, or there are too many.
        """
        prompt = self.prompt
        given: Sequence[str | int | list[int]] = [prompt] if isinstance(prompt, str) else prompt or []
        if given and isinstance(given[0], int):
            return (TokenPrompt(tuple(each for each in given if isinstance(each, int))),)
        if len(given) > _MOST_PROMPTS:
            raise InvalidParameter(f"At most {_MOST_PROMPTS} prompts are allowed, got {len(given)}.", "prompt")
        if not all(given):
            raise InvalidParameter("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        return tuple(TextPrompt(each) if isinstance(each, str) else TokenPrompt(_ids(each)) for each in given)


def _ids(prompt: int | list[int]) -> tuple[int, ...]:
    return tuple(prompt) if isinstance(prompt, list) else (prompt,)


def _check(data: Mapping[str, Any]) -> None:
    check_options(data)
    check_logprobs("logprobs", data.get("logprobs"))
    prompt = data.get("prompt")
    if isinstance(prompt, list) and not prompt:
        raise InvalidParameter("You must pass at least one prompt", "prompt")
    if data.get("prompt_embeds") is not None:
        raise Unsupported("Prompts as embeddings are not simulated.", "prompt_embeds")
    if prompt is None or prompt == "":
        raise InvalidParameter("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")


@frozen(eq=False)
class CompletionDialect:
    """Reads completion requests."""

    _settings: Settings

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        data = read_object(body, head)
        _check(data)
        completion = validate(CompletionBody, data, body)
        settings = self._settings
        model = settings.models.resolve(completion.model)
        if completion.suffix is not None:
            raise InvalidRequest("suffix is only supported for models with FIM completion rendering", "suffix")
        named = head.request_id or completion.request_id
        limit = _DEFAULT_MAX_TOKENS if completion.max_tokens is None else completion.max_tokens
        # With an echo, no tokens may be asked for; the engine makes one all the same, and it is not shown.
        silent = bool(completion.echo) and limit == 0
        request = InferenceRequest(
            request_id=named or settings.new_id(),
            named_by_client=bool(named),
            model=model,
            prompts=completion.prompts(),
            sampling=completion.sampling(1 if silent else limit, completion.logprobs),
            remote_prefill=completion.remote_prefill,
        )
        answer = CompletionAnswer(settings, completion, request, settings.now(), silent)
        return Call(request, answer.stream if completion.stream else None, answer.whole)


@frozen(eq=False)
class CompletionAnswer:
    """What every form of one answer has in common.

    :param silent: whether the generated token is left out, and the echo is all there is.
    """

    settings: Settings
    body: CompletionBody
    request: InferenceRequest
    created: int
    silent: bool

    @property
    def head(self) -> dict[str, Any]:
        """The members that every object of the answer begins with."""
        return {
            "id": f"cmpl-{self.request.request_id}",
            "object": "text_completion",
            "created": self.created,
            "model": self.request.model,
        }

    @property
    def shower(self) -> Shower | None:
        """What shows log probabilities, if they are asked for."""
        count = self.request.sampling.logprobs
        as_ids = self.body.return_tokens_as_token_ids
        return None if count is None else Shower(count, self.settings.tokens_as_ids if as_ids is None else as_ids)

    def shown(
        self, shower: Shower, prompt: TokenizedPrompt, answer: Answer, start: int, stop: int, offset: int
    ) -> tuple[dict[str, Any], int]:
        """Show log probabilities of some tokens, and of the prompt's before the first if it is echoed.

        :param offset: characters before the first of them.
        :return: what to show, and the characters before the token that follows.
        """
        tokens = [(p, answer.ids[p], answer.texts[p]) for p in range(start, stop)] if not self.silent else []
        if self.body.echo and not start:
            tokens = [*zip(range(len(prompt.ids)), prompt.ids, prompt.texts, strict=True), *tokens]
        return shower.text(tokens, offset)

    def stream(self) -> "CompletionStream":
        """Make the writer of a stream."""
        return CompletionStream(self)

    def whole(self) -> "CompletionWhole":
        """Make the writer of a whole answer."""
        return CompletionWhole(self)


class CompletionStream(ChunkStream):
    """Writes a completion as a stream of chunks."""

    def __init__(self, answer: CompletionAnswer) -> None:
        self._answer = answer
        request = answer.request
        choices = request.sampling.n * len(request.prompts)
        super().__init__(answer.head, answer.body, answer.settings, answer.shower, choices)
        self._plain = self._plain and not answer.body.echo
        self._offsets = [0] * choices

    def _prompt_of(self, choice: int) -> TokenizedPrompt:
        return self._prompts[choice // self._answer.request.sampling.n]

    def _choice(self, choice: int, text: str, answer: Answer | None, start: int, stop: int) -> dict[str, Any]:
        body, prompt = self._answer.body, self._prompt_of(choice)
        ends = answer is not None and stop == len(answer)
        if answer is not None and body.echo and not start:
            text = prompt.text + ("" if self._answer.silent else text)
        wants_ids = answer is not None and body.return_token_ids
        shown = None
        if answer is not None and self._shower is not None:
            shown, self._offsets[choice] = self._answer.shown(
                self._shower, prompt, answer, start, stop, self._offsets[choice]
            )
        return {
            "index": choice,
            "text": text,
            "logprobs": shown,
            "finish_reason": answer.finish_reason if answer and ends else None,
            "stop_reason": answer.stop_reason if answer and ends else None,
            "prompt_token_ids": list(prompt.ids) if wants_ids and not start else None,
            "token_ids": list(answer.ids[start:stop]) if answer and wants_ids else None,
            "weight_versions": None,
        }


@frozen(eq=False)
class CompletionWhole:
    """Writes a completion in one piece."""

    _answer: CompletionAnswer

    def body(self, prompts: Sequence[TokenizedPrompt], cached_tokens: int, answers: Sequence[Answer]) -> bytes:
        """Write the answer with every member of vLLM's model, nulls among them."""
        answer, settings, n = self._answer, self._answer.settings, self._answer.request.sampling.n
        prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
        details = prompt_details(settings, cached_tokens)
        return orjson.dumps(
            {
                **answer.head,
                "choices": [self._choice(index, prompts[index // n], each) for index, each in enumerate(answers)],
                "service_tier": None,
                "system_fingerprint": settings.fingerprint,
                "usage": usage(prompt_tokens, sum(map(len, answers)), details, nulls=True),
                "kv_transfer_params": None,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def _choice(self, index: int, prompt: TokenizedPrompt, answer: Answer) -> dict[str, Any]:
        body, count = self._answer.body, self._answer.body.prompt_logprobs
        text, shower = "" if self._answer.silent else answer.text, self._answer.shower
        shown = None if shower is None else self._answer.shown(shower, prompt, answer, 0, len(answer), 0)[0]
        return {
            "index": index,
            "text": prompt.text + text if body.echo else text,
            "logprobs": shown,
            "finish_reason": answer.finish_reason,
            "stop_reason": answer.stop_reason,
            "token_ids": list(answer.ids) if body.return_token_ids else None,
            "prompt_logprobs": None if count is None else Shower(count, as_ids=False).prompt(prompt),
            "prompt_token_ids": list(prompt.ids) if body.return_token_ids else None,
            "routed_experts": None,
            "weight_versions": None,
        }
