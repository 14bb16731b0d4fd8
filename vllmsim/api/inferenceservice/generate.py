# -*- test-case-name: tests.api.inferenceservice.test_generate -*-
"""Requests of ``vllm.Inference``, as they are read.

What is 0 or empty is not said: ``top_p`` 0 is 1, ``max_new_tokens`` 0 is 20. A LoRA adapter is named by ``lora_name``,
beside the model that it adapts or without one, or as the model itself. What is refused over HTTP is refused here, in
the same words. A session means nothing to a server that keeps none, and special tokens are in no text.

:mod:`vllmsim.api.inferenceservice.answer` writes the answers.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from attrs import evolve, frozen

from vllmsim.api.body import Body, Head, validate
from vllmsim.api.declared import read_message
from vllmsim.api.dialect import Call, Settings, request_of
from vllmsim.api.inferenceservice.answer import (
    Candidates,
    InferenceReading,
    InferenceStream,
    InferenceWhole,
    PromptTelling,
)
from vllmsim.api.inferenceservice.messages import GenerateRequest
from vllmsim.api.naming import Named
from vllmsim.api.sampling import check_salt, check_stops
from vllmsim.api.spoiling import MESSAGES
from vllmsim.api.structuredoutputs import StructuredOutputs, structured_output
from vllmsim.api.transfer import Transfer, TransferParams, transfer_of
from vllmsim.errors import InvalidParameter, InvalidRequest, PromptTooLong, UnknownAdapter, Unsupported
from vllmsim.inference import Cut, Prompt, TextPrompt, TokenPrompt
from vllmsim.sampling import Sampling
from vllmsim.structure import PLAIN, Form

_USUAL_TOKENS: Final = 20
"""How many tokens an answer has at most when a request does not say."""
_SHOWN: Final = 1024
"""How many characters of a name are shown."""


class _TransferBody(Body):
    """What a request says of its KV blocks."""

    kv_transfer_params: TransferParams | None = None


@frozen
class _Asked:
    """What a request says of itself; see :class:`vllmsim.api.dialect.NamedBody`."""

    model: str | None
    request_id: str | None
    transfer: Transfer
    cache_salt: str | None
    priority: int | None


@frozen(eq=False)
class InferenceDialect:
    """Reads the requests of one method.

    :param max_model_len: the most tokens of a prompt; longer ones are refused unread, unless they are to be shortened.
    :param streams: whether the method answers in pieces.
    """

    _settings: Settings
    _max_model_len: int
    _streams: bool

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        asked = read_message(GenerateRequest, body)
        settings = self._settings
        model = self._model(asked)
        prompt = self._prompt(asked)
        request = request_of(
            settings,
            # The id in the message is the one that the client will abort it by.
            evolve(head, request_id=asked.request_id or head.request_id),
            _said(asked),
            model,
            (prompt,),
            self._sampling(asked),
            "",
            _form(asked.decoding),
            cut=Cut(asked.truncate_prompt_tokens, "left") if asked.truncate_prompt_tokens else None,
            reads_cache=False if asked.kv.bypass_prefix_cache else None,
        )
        # A part of a message keeps the whole in memory, and so the prompt.
        options = type(asked.response)()
        options.CopyFrom(asked.response)
        about = PromptTelling(options)
        reading = InferenceReading(
            settings,
            options,
            about,
            request,
            Candidates(options.output_candidates) if options.output_candidates else None,
            handed_over=_transfer(asked.kv).handed_over,
        )
        return Call(
            request,
            partial(InferenceStream, reading) if self._streams else None,
            partial(InferenceWhole, reading),
            prepare=about.prepare if about.detailed else None,
            spoiling=MESSAGES,
        )

    def named(self, body: bytes, _head: Head) -> Named:
        """Tell what a request says of itself, whatever is wrong with the rest; see :mod:`vllmsim.api.naming`."""
        return Named(_model_named(read_message(GenerateRequest, body)), self._streams)

    def _model(self, asked: Any) -> str:
        """Find what a request is to be served by.

        :raises UnknownModel: when there is no such model.
        :raises UnknownAdapter: when there is no such adapter.
        :raises InvalidRequest: when two adapters are named.
        """
        models = self._settings.models
        model = models.resolve(asked.model)
        if not asked.lora_name:
            return model
        if models.adapter(asked.lora_name) is None:
            raise UnknownAdapter(f"The lora adapter '{asked.lora_name[:_SHOWN]}' cannot be found.", "lora_name")
        if model not in (asked.lora_name, models.resolve(None)):
            raise InvalidRequest(f"The model '{model}' is another adapter than '{asked.lora_name}'.", "lora_name")
        name: str = asked.lora_name
        return name

    def _prompt(self, asked: Any) -> Prompt:
        if asked.media:
            raise Unsupported("Media of requests to vllm.Inference are not simulated.", "media")
        if asked.text:
            return TextPrompt(asked.text)
        ids, limit = asked.token_ids.ids, self._max_model_len
        if not ids:
            raise InvalidParameter("Either text or token_ids must be provided and non-empty.", "prompt")
        if len(ids) <= limit:
            return TokenPrompt(tuple(ids))
        if not asked.truncate_prompt_tokens:
            raise PromptTooLong(limit, len(ids), exact=len(ids) != limit + 1)
        # No more than that is left in any case.
        return TokenPrompt(tuple(ids[-limit:]))

    def _sampling(self, asked: Any) -> Sampling:
        sampling, decoding, stopping, response = asked.sampling, asked.decoding, asked.stopping, asked.response
        check_stops(stopping.stop_strings)
        return Sampling(
            n=sampling.num_sequences or 1,
            max_tokens=stopping.max_new_tokens or _USUAL_TOKENS,
            min_tokens=stopping.min_new_tokens,
            stop=tuple(stopping.stop_strings),
            stop_token_ids=tuple(stopping.stop_token_ids),
            ignore_eos=stopping.ignore_eos,
            include_stop_str_in_output=stopping.include_stop_strings,
            seed=sampling.seed if sampling.HasField("seed") else None,
            temperature=asked.temperature if asked.HasField("temperature") else 1.0,
            top_p=sampling.top_p or 1.0,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=decoding.repetition_penalty or 1.0,
            presence_penalty=decoding.presence_penalty,
            frequency_penalty=decoding.frequency_penalty,
            logprobs=_alternatives(response.output_candidates, wanted=response.output_logprobs),
            prompt_logprobs=_alternatives(response.prompt_candidates, wanted=response.prompt_logprobs),
            logit_bias=tuple(decoding.logit_bias),
            allowed_token_ids=tuple(decoding.allowed_token_ids) or None,
        )


def _alternatives(candidates: int, *, wanted: bool) -> int | None:
    """Tell how many alternatives of each token are to be shown; None for no log probabilities."""
    return candidates if candidates or wanted else None


def _model_named(asked: Any) -> str | None:
    """Tell which model a request names; an adapter is the model, whatever else is said."""
    return asked.lora_name or asked.model or None


def _said(asked: Any) -> _Asked:
    kv = asked.kv
    salt = kv.cache_salt or None
    check_salt(salt)
    return _Asked(_model_named(asked), None, _transfer(kv), salt, asked.priority)


def _transfer(kv: Any) -> Transfer:
    """Read what is to become of the blocks of a request's prompt.

    :raises vllmsim.errors.MalformedRequest: when what is said of them has the wrong type.
    """
    given = kv.kv_transfer_params.fields
    # The others may be many, and mean nothing here.
    params = {name: _plain(given[name]) for name in TransferParams.__annotations__ if name in given}
    read = validate(_TransferBody, {"kv_transfer_params": params}, b"")
    return transfer_of(read.kv_transfer_params)


def _plain(value: Any) -> object:
    """Find what a value of a ``Struct`` is; of a list and of an object, that it is one."""
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "struct_value":
        return {}
    return [] if kind == "list_value" else getattr(value, kind)


def _form(decoding: Any) -> Form:
    """Find what the answers must be made of.

    :raises InvalidRequest: when the server cannot make that.
    """
    kind = decoding.WhichOneof("constraint")
    if kind is None:
        return PLAIN
    value = list(decoding.choice.choices) if kind == "choice" else getattr(decoding, kind)
    constraints: Mapping[str, Any] = {kind: value}
    output = structured_output(None, StructuredOutputs.model_validate(constraints))
    return PLAIN if output is None else Form(output=output)
