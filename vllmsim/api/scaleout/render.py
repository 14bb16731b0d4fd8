# -*- test-case-name: tests.api.scaleout.test_render -*-
"""The render routes: the generate request that a request of another surface would become, as vLLM 0.33 writes it.

A rendered request can be sent to ``/inference/v1/generate`` as it is. It has the prompt's token ids, what a multimodal
processor would have made of its media, the sampling parameters under the engine's names, and what is needed to make a
message of the answer. Completions are rendered to a list, with one request per prompt.

Of sampling parameters just those are shown that differ from the engine's defaults, and those that vLLM always shows.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import orjson
from attrs import Factory, frozen

from vllmsim.api.body import Head
from vllmsim.api.sampling import GenerationBody
from vllmsim.api.structuredoutputs import ANY_OBJECT
from vllmsim.errors import InvalidRequest
from vllmsim.inference import InferenceRequest, TokenizedPrompt
from vllmsim.sampling import Sampling
from vllmsim.structure import ChoiceOutput, JsonOutput, StructuredOutput

_FINAL_ONLY: Final = 2
_DELTA: Final = 1
_ORDER: Final = (
    "n", "presence_penalty", "frequency_penalty", "repetition_penalty", "temperature", "top_p", "top_k", "min_p",
    "seed", "stop", "stop_token_ids", "ignore_eos", "max_tokens", "min_tokens", "logprobs", "prompt_logprobs",
    "skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output", "output_kind", "skip_clone",
    "structured_outputs", "logit_bias", "allowed_token_ids", "extra_args", "bad_words", "skip_reading_prefix_cache",
    "thinking_token_budget",
)  # fmt: skip
_DEFAULTS: Final = Sampling()
_HIDDEN: Final = (
    "n", "top_k", "seed", "ignore_eos", "min_tokens", "logprobs", "prompt_logprobs", "include_stop_str_in_output",
    "allowed_token_ids",
)  # fmt: skip
"""Parameters that are not shown while they have their default."""


@frozen(eq=False)
class Details:
    """What a generate request has of the one it is made of, beside what every dialect says.

    :param stream_options: what a stream carries beside the text.
    :param engine: sampling parameters that a simulator has no use for; None for one that is not given.
    :param parse_context: what is needed to make a message of the answer.
    :param template: the arguments of the chat template, where there is reasoning to be told from the rest.
    :param reasoning_ended: whether the prompt leaves no room for reasoning; None where there is none at all.
    :param data: whether the data of media are shown.
    """

    stream: bool = False
    stream_options: Mapping[str, Any] | None = None
    cache_salt: str | None = None
    priority: int = 0
    return_token_ids: bool | None = None
    engine: Mapping[str, Any] = Factory(dict)
    parse_context: Mapping[str, Any] | None = None
    template: Mapping[str, Any] | None = None
    reasoning_ended: bool | None = None
    data: bool = True


@frozen(eq=False)
class Rendering:
    """A request that is to be shown, and not to be served.

    :param several: whether a list is shown, with a request for each prompt.
    """

    request: InferenceRequest
    details: Details
    several: bool = False

    def body(self, prompts: Sequence[TokenizedPrompt], samplings: Sequence[Sampling]) -> bytes:
        """Write what each prompt's request is.

        :param samplings: the parameters of each, with `max_tokens` settled.
        :raises InvalidRequest: when it has something that JSON cannot.
        """
        pairs = enumerate(zip(prompts, samplings, strict=True))
        values = [self._value(number, prompt, sampling) for number, (prompt, sampling) in pairs]
        return repeat(values if self.several else values[0])

    def _value(self, number: int, prompt: TokenizedPrompt, sampling: Sampling) -> dict[str, Any]:
        details, request = self.details, self.request
        name = request.answer_id
        return {
            "request_id": name if len(request.prompts) == 1 else f"{name}-{number}",
            "token_ids": list(prompt.ids),
            "token_offsets": None,
            "features": self._features(prompt),
            "content_parts": None,
            "sampling_params": self._engine(sampling),
            "model": request.model,
            "reasoning_ended": details.reasoning_ended,
            "reasoning_parser_kwargs": details.template and {"chat_template_kwargs": details.template},
            "return_token_ids": details.return_token_ids,
            "output_mode": "tokens",
            "parse_context": details.parse_context,
            "stream": details.stream,
            "stream_options": details.stream_options if details.stream else None,
            "cache_salt": details.cache_salt,
            "priority": details.priority,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
        }

    def _features(self, prompt: TokenizedPrompt) -> dict[str, Any] | None:
        """Describe a prompt's media: hashes, places and processed data, by kind."""
        if not prompt.media:
            return None
        hashes: dict[str, list[str]] = {}
        places: dict[str, list[dict[str, int]]] = {}
        for span in prompt.media:
            hashes.setdefault(span.kind, []).append(span.identifier)
            places.setdefault(span.kind, []).append({"offset": span.offset, "length": span.length})
        data = {kind: [b64encode(each.encode()).decode() for each in given] for kind, given in hashes.items()}
        return {
            "mm_hashes": hashes,
            "mm_placeholders": places,
            "kwargs_data": data if self.details.data else None,
            "mm_metadata": None,
        }

    def _engine(self, sampling: Sampling) -> dict[str, Any]:
        """Show sampling parameters, in the engine's order."""
        output = self.request.form.output
        given: dict[str, Any] = {
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "repetition_penalty": sampling.repetition_penalty,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "stop": list(sampling.stop),
            "stop_token_ids": list(sampling.stop_token_ids),
            "max_tokens": sampling.max_tokens,
            "output_kind": _DELTA if self.details.stream else _FINAL_ONLY,
            "skip_clone": True,
            "bad_words": [],
            # Reading cached blocks would leave their tokens without probabilities.
            "skip_reading_prefix_cache": not self.request.reads_cache,
            **({} if output is None else {"structured_outputs": _constraint(output)}),
        }
        given |= {name: value for name, value in self.details.engine.items() if value is not None}
        for name in _HIDDEN:
            if (value := getattr(sampling, name)) != getattr(_DEFAULTS, name):
                given[name] = value
        return {name: given[name] for name in _ORDER if name in given}


class RenderDialect(Protocol):
    """One API surface whose requests can be rendered."""

    def render(self, body: bytes, head: Head) -> Rendering:
        """Read a request.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """


def engine_parameters(body: GenerationBody, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Collect the sampling parameters of a body that a simulator has no use for.

    :param arguments: what the engine's extensions are told.
    """
    extra = dict(arguments or {})
    if body.kv_transfer_params is not None:
        extra["kv_transfer_params"] = body.kv_transfer_params
    return {
        "skip_special_tokens": False if body.skip_special_tokens is False else None,
        "logit_bias": {str(int(token)): bias for token, bias in body.logit_bias.items()} if body.logit_bias else None,
        "extra_args": extra or None,
    }


def repeat(value: Any) -> bytes:
    """Write what has members of a request in it.

    :raises InvalidRequest: when one of them is nested too deeply, or has a number that is too large.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        raise InvalidRequest("The request has a value that is nested too deeply or too large to be repeated.") from None


def _constraint(output: StructuredOutput) -> dict[str, Any]:
    if isinstance(output, JsonOutput):
        return {"json_object": True} if output.schema is ANY_OBJECT else {"json": output.schema}
    if isinstance(output, ChoiceOutput):
        return {"choice": list(output.choices)}
    return {"regex": output.pattern}
