# -*- test-case-name: tests.api.test_completions -*-
"""Text completions, as vLLM 0.33 reads and writes them.

The prompt is a text, a list of texts, a list of token ids, or a list of such lists. Choice ``i`` answers prompt
``i // n``. A stream has no opening chunk; every chunk's choice has the same eight members.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import orjson
from attrs import frozen

from vllmsim.api.body import Head, Listed, read_object, validate
from vllmsim.api.chunks import ChunkStream
from vllmsim.api.dialect import Call, Reading, Settings, prompt_details, request_of, usage
from vllmsim.api.logprobs import Shower
from vllmsim.api.sampling import SamplingBody, check_logprobs, check_options
from vllmsim.api.structuredoutputs import structured_output
from vllmsim.api.thresholds import threshold_of
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Answer, Prefill, Prompt, TextPrompt, TokenizedPrompt, TokenPrompt
from vllmsim.structure import PLAIN, Form

_DEFAULT_MAX_TOKENS: Final = 16


class CompletionBody(SamplingBody):
    """A completion request."""

    prompt: str | Listed[str] | Listed[int] | Listed[Listed[int]] | None = None
    prompt_embeds: Any = None
    best_of: int | None = None
    logprobs: int | None = None
    max_tokens: int | None = None
    suffix: str | None = None

    def prompts(self) -> tuple[Prompt, ...]:
        """List the prompts, whichever of the four forms they have.

        :raises InvalidRequest: when there is none, or one is empty.
        """
        prompt = self.prompt
        given: Sequence[str | int | list[int]] = [prompt] if isinstance(prompt, str) else prompt or []
        if given and isinstance(given[0], int):
            return (TokenPrompt(tuple(each for each in given if isinstance(each, int))),)
        if not all(given):
            raise InvalidParameter("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        special = self.add_special_tokens is not False
        return tuple(TextPrompt(each, special) if isinstance(each, str) else TokenPrompt(_ids(each)) for each in given)


def _ids(prompt: int | list[int]) -> tuple[int, ...]:
    return tuple(prompt) if isinstance(prompt, list) else (prompt,)


def _check(data: Mapping[str, Any], most: int) -> None:
    check_options(data)
    check_logprobs("logprobs", data.get("logprobs"))
    prompt = data.get("prompt")
    if isinstance(prompt, list) and not prompt:
        raise InvalidParameter("You must pass at least one prompt", "prompt")
    if isinstance(prompt, list) and len(prompt) > most and not isinstance(prompt[0], int | float):
        raise InvalidParameter(f"At most {most} prompts are allowed, got {len(prompt)}.", "prompt")
    if data.get("prompt_embeds") is not None:
        # The words of a vLLM that was not started with that flag.
        raise InvalidRequest("You must set `--enable-prompt-embeds` to input `prompt_embeds`.", "prompt_embeds")
    if prompt is None or prompt == "":
        raise InvalidParameter("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")


@frozen(eq=False)
class CompletionDialect:
    """Reads completion requests."""

    _settings: Settings

    def read(self, body: bytes, head: Head) -> "CompletionReading":
        """Read a request.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """
        data = read_object(body, head)
        _check(data, self._settings.most_prompts)
        completion = validate(CompletionBody, data, body)
        settings = self._settings
        model = settings.models.resolve(completion.model)
        if completion.suffix is not None:
            raise InvalidRequest("suffix is only supported for models with FIM completion rendering", "suffix")
        limit = completion.max_tokens
        if limit is None:
            limit = 1 if settings.encoder_only else _DEFAULT_MAX_TOKENS
        # With an echo, no tokens may be asked for; the engine makes one all the same, and it is not shown.
        silent = bool(completion.echo) and limit == 0
        sampling = completion.sampling(1 if silent else limit, completion.logprobs)
        output = structured_output(completion.response_format, completion.structured_outputs)
        form = PLAIN if output is None else Form(output=output)
        # The echo shows log probabilities too.
        reads_cache = False if completion.echo and completion.logprobs is not None else None
        request = request_of(
            settings,
            head,
            completion,
            model,
            completion.prompts(),
            sampling,
            "cmpl",
            form,
            cut=completion.cut,
            reads_cache=reads_cache,
            threshold=threshold_of(head, completion.cache_hit_threshold),
            repeats_prompt=bool(completion.echo or completion.return_token_ids),
        )
        return CompletionReading(settings, completion, request, settings.now(), silent)

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        reading = self.read(body, head)
        stream = partial(CompletionStream, reading) if reading.body.stream else None
        return Call(reading.request, stream, partial(CompletionWhole, reading))


@frozen(eq=False)
class CompletionReading(Reading[CompletionBody]):
    """A completion request.

    :param silent: whether the generated token is left out, and the echo is all there is.
    """

    prefix = "cmpl"

    silent: bool

    def engine_request_id(self, choice: int) -> str:
        """Find what the engine calls a prompt: each is a request of its own to it."""
        return f"{self.request.answer_id}-{choice // self.request.sampling.n}"

    @property
    def reasons(self) -> bool:
        """Completions never do."""
        return False

    def prompt_of(self, choice: int, prompts: Sequence[TokenizedPrompt]) -> TokenizedPrompt:
        """Find the prompt that a choice answers."""
        return prompts[choice // self.request.sampling.n]

    def shown(
        self, shower: Shower, prompt: TokenizedPrompt, answer: Answer, start: int, stop: int, offset: int
    ) -> tuple[dict[str, Any], int]:
        """Show log probabilities of some tokens, and of the prompt's before the first if it is echoed.

        :param offset: characters before the first of them.
        :return: what to show, and the characters before the token that follows.
        """
        tokens: list[tuple[int | None, int, str]] = []
        if self.body.echo and not start:
            tokens += zip([None, *range(1, len(prompt.ids))], prompt.ids, prompt.texts, strict=True)
        if not self.silent:
            tokens += [(position, answer.ids[position], answer.texts[position]) for position in range(start, stop)]
        return shower.text(tokens, offset)


class CompletionStream(ChunkStream):
    """Writes a completion as a stream of chunks."""

    def __init__(self, reading: CompletionReading) -> None:
        super().__init__(reading, "text_completion")
        self._reading = reading
        self._framed = self._plain and not reading.body.echo
        self._offsets: list[int] = []

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Learn about the prompts; a completion has no opening chunk."""
        self._offsets = [0] * self._choices
        return super().opening(prompts, prefill)

    def _prompt_of(self, choice: int) -> TokenizedPrompt:
        return self._reading.prompt_of(choice, self._prompts)

    def _choice(self, choice: int, text: str, answer: Answer | None, start: int, stop: int) -> dict[str, Any]:
        body, prompt = self._reading.body, self._prompt_of(choice)
        ends = answer is not None and stop == len(answer)
        if answer is not None and body.echo and not start:
            text = prompt.text + ("" if self._reading.silent else text)
        wants_ids = answer is not None and body.return_token_ids
        shown = None
        if answer is not None and self._shower is not None and not answer.refused:
            shown, self._offsets[choice] = self._reading.shown(
                self._shower, prompt, answer, start, stop, self._offsets[choice]
            )
        return {
            "index": choice,
            "text": text,
            "logprobs": shown,
            "finish_reason": answer.finish_reason if answer is not None and ends else None,
            "stop_reason": answer.stop_reason if answer is not None and ends else None,
            "prompt_token_ids": list(prompt.ids) if wants_ids and not start else None,
            "token_ids": list(answer.ids[start:stop]) if answer is not None and wants_ids else None,
            "weight_versions": None,
        }


@frozen(eq=False)
class CompletionWhole:
    """Writes a completion in one piece."""

    _reading: CompletionReading

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the answer with every member of vLLM's model, nulls among them."""
        reading, settings = self._reading, self._reading.settings
        prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
        details = prompt_details(settings, reading.served(answers))
        return orjson.dumps(
            {
                **reading.head("text_completion"),
                "choices": [self._choice(i, reading.prompt_of(i, prompts), each) for i, each in enumerate(answers)],
                "service_tier": None,
                "system_fingerprint": settings.fingerprint,
                "usage": usage(prompt_tokens, sum(map(len, answers)), details, nulls=True),
                "kv_transfer_params": reading.handover(answers[0]),
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def _choice(self, index: int, prompt: TokenizedPrompt, answer: Answer) -> dict[str, Any]:
        reading, body = self._reading, self._reading.body
        text, shower = "" if reading.silent else answer.text, None if answer.refused else reading.shower
        shown = None if shower is None else reading.shown(shower, prompt, answer, 0, len(answer), 0)[0]
        count = None if answer.refused else body.prompt_logprobs
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
