# -*- test-case-name: tests.api.scaleout.test_generate -*-
"""Answers to generate requests, as vLLM 0.33 writes them; those in pieces are in :mod:`vllmsim.api.scaleout.stream`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
from attrs import frozen

from vllmsim.api.chatanswer import ChatReading, ChatWhole
from vllmsim.api.dialect import Settings, all_refused, prompt_details, usage
from vllmsim.api.logprobs import Shower
from vllmsim.api.transfer import encoder_outputs
from vllmsim.inference import NOT_PREFILLED, Answer, InferenceRequest, Prefill, TokenizedPrompt

if TYPE_CHECKING:
    from vllmsim.api.scaleout.generate import GenerateBody

PREFIX: Final = "generate-tokens"
_WEIGHTS: Final = "default"


@frozen(eq=False)
class GenerateReading:
    """One request as it was read, and what both forms of its answer have in common.

    :param created: the time that the answer tells, in seconds since the epoch.
    """

    settings: Settings
    body: "GenerateBody"
    request: InferenceRequest
    created: int

    @property
    def shower(self) -> Shower | None:
        """What shows log probabilities, if they are asked for."""
        count = self.request.sampling.logprobs
        return None if count is None else Shower(count, self.settings.tokens_as_ids)

    @property
    def chat(self) -> ChatReading:
        """The chat request whose message is the answer's."""
        return ChatReading(self.settings, self.body.chat(), self.request, self.created)

    def prompt_details(self, prefill: Prefill, *, refused: bool) -> dict[str, Any] | None:
        """Say where the prompt's tokens came from, if the server shows that; vLLM does not say here what it stored."""
        details = prompt_details(self.settings, [] if refused else [prefill])
        return None if details is None else details | {"created_cache_tokens": None}

    def handover(self, answer: Answer) -> dict[str, Any] | None:
        """Make ``kv_transfer_params`` for a client that will have another server decode; None for any other."""
        if not self.body.transfer.handed_over:
            return None
        return self.settings.remote.handover(self.request.answer_id, answer, self.settings.now())

    def logprobs(self, shower: Shower | None, answer: Answer, start: int, stop: int) -> dict[str, Any] | None:
        """Show log probabilities: by id where there is nothing but ids, else as chat completions do."""
        if shower is None or answer.refused:
            return None
        show = shower.by_id if self.body.output_mode == "tokens" else shower.chat
        return show(answer, start, stop)

    def about_prompt(self, prompt: TokenizedPrompt) -> dict[str, Any]:
        """Make the members that tell of the prompt, null where the request does not ask."""
        asked, features = self.body.return_token_ids, self.body.features
        places = features.mm_placeholders if features is not None and asked else None
        return {
            "prompt_token_ids": list(prompt.ids) if asked else None,
            "mm_placeholders": None
            if places is None
            else {kind: [place.model_dump() for place in each] for kind, each in places.items()},
        }

    def choice(
        self, index: int, answer: Answer, ids: list[int], said: dict[str, Any], logprobs: Any, *, ends: bool
    ) -> dict[str, Any]:
        """Make a choice.

        :param said: what it has beside token ids.
        :param ends: whether these are its last tokens.
        """
        weights = [{"version": _WEIGHTS, "start": 0, "end": len(answer)}] if len(answer) else []
        return {
            "index": index,
            "finish_reason": answer.finish_reason if ends else None,
            "stop_reason": answer.stop_reason if ends else None,
            "token_ids": ids,
            "routed_experts": None,
            "sampling_mask": None,
            "weight_versions": weights if ends else None,
            **said,
            "logprobs": logprobs,
        }


def spoken(answer: Answer) -> Sequence[str]:
    """List what each token adds to the text as a model says it: tags and names of tools are in it."""
    if not answer.parts:
        return answer.pieces
    pieces = list(answer.pieces)
    for part in answer.parts:
        pieces[part.start : part.first] = answer.texts[part.start : part.first]
        if part.kind != "text":
            pieces[part.last : part.stop] = answer.texts[part.last : part.stop]
    return pieces


@frozen(eq=False)
class GenerateWhole:
    """Writes an answer in one piece."""

    _reading: GenerateReading

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the answer with every member of vLLM's model, nulls among them."""
        reading, body, prompt = self._reading, self._reading.body, prompts[0]
        refused = all_refused(answers)
        count = None if refused else reading.request.sampling.prompt_logprobs
        details = reading.prompt_details(prefill, refused=refused)
        return orjson.dumps(
            {
                "request_id": reading.request.answer_id,
                "model": reading.request.model,
                "created": reading.created,
                "usage": usage(len(prompt.ids), sum(map(len, answers)), details, nulls=True),
                "prompt_logprobs": None if count is None else Shower(count, as_ids=False).prompt(prompt),
                "prompt_token_id_logprobs": None,
                **reading.about_prompt(prompt),
                "metrics": None,
                "kv_transfer_params": reading.handover(answers[0]),
                "ec_transfer_params": self._encoded(),
                "output_mode": body.output_mode,
                "choices": self._choices(prompts, answers),
            }
        )

    def _choices(self, prompts: Sequence[TokenizedPrompt], answers: Sequence[Answer]) -> list[dict[str, Any]]:
        reading, shower, choices = self._reading, self._reading.shower, []
        parsed = []
        if reading.body.output_mode == "derender":
            parsed = ChatWhole(reading.chat).value(prompts, NOT_PREFILLED, answers)["choices"]
        for index, answer in enumerate(answers):
            said: dict[str, Any] = {}
            if parsed:
                said = {"message": parsed[index]["message"]}
            elif reading.body.output_mode == "text":
                said = {"text": "".join(spoken(answer))}
            shown = reading.logprobs(shower, answer, 0, len(answer))
            choices.append(reading.choice(index, answer, list(answer.ids), said, shown, ends=True))
            if parsed:
                choices[-1]["finish_reason"] = parsed[index]["finish_reason"]
        return choices

    def _encoded(self) -> dict[str, Any] | None:
        features = self._reading.body.features
        if not self._reading.settings.encoder_only or features is None:
            return None
        hashes = [each for kind in features.mm_hashes.values() for each in kind]
        return encoder_outputs(hashes) if hashes else None
