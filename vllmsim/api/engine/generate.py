# -*- test-case-name: tests.api.engine.test_generate -*-
"""``VllmEngine.Generate``: a prompt in, messages with token ids out, as vLLM's gRPC server reads and writes them.

A request is one ``GenerateRequest``: a prompt as token ids or as text, sampling parameters, and whether the answer is
to come in pieces. What it is called is what ``Abort`` calls it. It does not say which model it is for: the name of an
alias or an adapter is in the call's metadata, under ``model``; the base model answers calls without.

:mod:`vllmsim.api.engine.answer` writes answers, :mod:`vllmsim.api.engine.stream` those in pieces.
"""

from functools import partial
from typing import Final

from attrs import evolve, frozen
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.api.body import Head
from vllmsim.api.declared import read_message
from vllmsim.api.dialect import Call, Settings, request_of
from vllmsim.api.engine.answer import GenerateReading, GenerateWhole
from vllmsim.api.engine.logprobs import Given
from vllmsim.api.engine.media import batches_of, check_tensors, identity_salt, prepared, referred, spans_of
from vllmsim.api.engine.parameters import read_cut, read_form, read_sampling
from vllmsim.api.engine.stream import GenerateStream
from vllmsim.api.engine.transfer import read_transfer
from vllmsim.api.logprobs import alternatives
from vllmsim.api.naming import Named
from vllmsim.api.spoiling import MESSAGES
from vllmsim.api.transfer import NO_TRANSFER, Transfer
from vllmsim.errors import InvalidParameter, InvalidRequest, PromptTooLong
from vllmsim.inference import Cut, Span, TextPrompt, TokenPrompt
from vllmsim.sampling import Sampling

_MOST_GIVEN: Final = 1 << 23
"""How many log probabilities of a prompt an answer with several choices has, at most: some 80 MB of them."""


@frozen
class Asked:
    """What a request says of itself; see :class:`vllmsim.api.dialect.NamedBody`."""

    model: str | None
    request_id: str | None
    transfer: Transfer
    cache_salt: str | None
    priority: int | None = None


@frozen(eq=False)
class GenerateDialect:
    """Reads requests to generate.

    :param max_model_len: the most tokens of a prompt; longer ones are refused unread, as there may be millions.
    """

    _settings: Settings
    _max_model_len: int

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        message, settings = read_message(pb.GenerateRequest, body), self._settings
        model, given = settings.models.resolve(head.model), message.sampling_params
        transfer, tokenized, cut = read_transfer(message), message.HasField("tokenized"), read_cut(given)
        media, salt = self._read_media(message, model, fetched=transfer is not None) if tokenized else ((), None)
        if not tokenized and message.HasField("media_refs"):
            raise _not_both()
        prompt = self._read_ids(message.tokenized, media, cut) if tokenized else TextPrompt(message.text)
        sampling = read_sampling(given)
        self._check_repetition(prompt, sampling)
        asked = Asked(head.model, message.request_id or head.request_id, transfer or NO_TRANSFER, salt)
        form = read_form(given, thinks=settings.reasons and tokenized)
        if message.HasField("data_parallel_rank"):
            head = evolve(head, data_parallel_rank=str(message.data_parallel_rank))
        # The id in the message is the one that the client will abort it by.
        head = evolve(head, request_id=None)
        request = request_of(settings, head, asked, model, (prompt,), sampling, "", form, cut=cut)
        told = None if sampling.prompt_logprobs is None else Given(sampling.prompt_logprobs)
        reading = GenerateReading(
            settings,
            request,
            told,
            hands_over=asked.transfer.handed_over,
            identifies=transfer is not None and message.HasField("media_refs"),
        )
        return Call(
            request,
            partial(GenerateStream, reading) if message.stream else None,
            partial(GenerateWhole, reading),
            prepare=None if told is None else lambda prompts: told.write(prompts[0].ids),
            spoiling=MESSAGES,
        )

    def named(self, body: bytes, head: Head) -> Named:
        """Tell what a request says of itself, whatever is wrong with the rest; see :mod:`vllmsim.api.naming`."""
        return Named(head.model or None, read_message(pb.GenerateRequest, body).stream)

    def _read_ids(self, given: pb.TokenizedInput, media: tuple[Span, ...], cut: Cut | None) -> TokenPrompt:
        ids, most = given.input_ids, self._max_model_len
        if len(ids) <= most:
            return TokenPrompt(tuple(ids), media)
        if cut is None:
            raise PromptTooLong(most, len(ids), exact=len(ids) != most + 1)
        # No more than that is left in any case.
        return TokenPrompt(tuple(ids[-most:]), Cut(most, "left").spans(media, len(ids)))

    def _check_repetition(self, prompt: TokenPrompt | TextPrompt, sampling: Sampling) -> None:
        """Check how often the log probabilities of a prompt are told: each choice has them all.

        :raises InvalidParameter: when that would be too much to write.
        """
        n, count = sampling.n, sampling.prompt_logprobs
        if n == 1 or count is None:
            return
        tokens = len(prompt.ids) if isinstance(prompt, TokenPrompt) else min(len(prompt.text), self._max_model_len)
        entries = n * tokens * (1 + len(alternatives(max(count, 0))))
        if entries > _MOST_GIVEN:
            raise InvalidParameter(
                f"prompt_logprobs would be told {n} times, {entries} numbers in all; {_MOST_GIVEN} are the most.",
                "prompt_logprobs",
                count,
            )

    def _read_media(
        self, message: pb.GenerateRequest, model: str, *, fetched: bool
    ) -> tuple[tuple[Span, ...], str | None]:
        """Find the media of a prompt, and what keeps its KV blocks apart where nothing is left of them but hashes.

        :param fetched: whether the KV blocks come from elsewhere.
        """
        tokens, batches = len(message.tokenized.input_ids), batches_of(message)
        refers = message.HasField("media_refs")
        if refers and batches:
            raise _not_both()
        complete = prepared(batches)
        if (refers or complete) and not self._settings.multimodal:
            raise InvalidRequest(f"{model} is not a multimodal model")
        if refers:
            return referred(message.media_refs, tokens), None
        if not complete:
            return (), identity_salt(batches)
        check_tensors(complete, fetched=fetched)
        return spans_of(complete, tokens), None


def _not_both() -> InvalidRequest:
    return InvalidRequest(
        "media_refs requires tokenized input and cannot be combined with preprocessed multimodal inputs"
    )
