# -*- test-case-name: tests.api.engine.test_generate -*-
"""Answers of ``VllmEngine.Generate`` in one piece: a ``complete`` message for each choice, in their order.

Token counts are those of the choice alone. Where the prompt's KV blocks are for another server to go on with, each
message says where; those in pieces are in :mod:`vllmsim.api.engine.stream`.
"""

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.api.dialect import Settings
from vllmsim.api.engine.logprobs import Given, Probabilities
from vllmsim.api.engine.media import identify
from vllmsim.api.engine.transfer import write_transfer
from vllmsim.api.engine.wire import enclosed
from vllmsim.api.frames import frame
from vllmsim.inference import Answer, InferenceRequest, Prefill, TokenizedPrompt

_COMPLETE: Final = pb.GenerateResponse.COMPLETE_FIELD_NUMBER
_GIVEN: Final = pb.GenerateComplete.INPUT_LOGPROBS_FIELD_NUMBER


@frozen(eq=False)
class GenerateReading:
    """One request as it was read.

    :param given: the log probabilities of the prompt, if they are asked for.
    :param hands_over: whether another server is to go on after the prefill.
    :param identifies: whether that is to be told of the media, which this one was to fetch.
    """

    settings: Settings
    request: InferenceRequest
    given: Given | None = None
    hands_over: bool = False
    identifies: bool = False

    @property
    def output(self) -> Probabilities | None:
        """What shows the log probabilities of answers, if they are asked for."""
        count = self.request.sampling.logprobs
        return None if count is None else Probabilities(count)

    def complete(
        self,
        prompt: TokenizedPrompt,
        choice: int,
        answer: Answer,
        start: int,
        output: Probabilities | None,
        *,
        shows_prompt: bool,
    ) -> bytes:
        """Write how a choice ends.

        :param start: the first of the last tokens, which are in it.
        :param output: what shows their log probabilities.
        :param shows_prompt: whether those of the prompt are to be in it, if they are asked for.
        """
        stop = len(answer)
        complete = pb.GenerateComplete(
            output_ids=answer.ids[start:stop],
            finish_reason=answer.finish_reason,
            prompt_tokens=len(prompt.ids),
            completion_tokens=stop - start,
            cached_tokens=answer.prefill.found,
            output_logprobs=output.output(answer, start, stop) if output is not None else None,
            index=choice,
        )
        if isinstance(answer.stop_reason, int):
            complete.matched_token_id = answer.stop_reason
        elif answer.stop_reason is not None:
            complete.matched_stop_str = answer.stop_reason
        if self.hands_over:
            handover = self.settings.remote.handover(self.request.answer_id, answer, self.settings.now())
            write_transfer(complete, handover)
        if self.identifies and prompt.media:
            complete.media_identity.CopyFrom(identify(prompt.ids, prompt.media))
        given = enclosed(_GIVEN, self.given.write(prompt.ids)) if self.given is not None and shows_prompt else b""
        return frame(enclosed(_COMPLETE, complete.SerializeToString() + given))


@frozen(eq=False)
class GenerateWhole:
    """Writes an answer in one piece."""

    _reading: GenerateReading

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the messages of all choices."""
        reading, prompt, output = self._reading, prompts[0], self._reading.output
        return b"".join(
            reading.complete(prompt, choice, answer, 0, output, shows_prompt=True)
            for choice, answer in enumerate(answers)
        )
