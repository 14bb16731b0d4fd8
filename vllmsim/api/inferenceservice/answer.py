# -*- test-case-name: tests.api.inferenceservice.test_answer -*-
"""Answers of ``vllm.Inference``, as they are written: whole in one message, or in one for each token.

Each choice is an output with its number. The first message has what the request asks to know of the prompt, and the
last one of a choice says why it has ended. Where there are log probabilities, the first token of a prompt has none: it
is not a number there, of rank 0, and without candidates.
"""

from collections.abc import Iterator, Sequence
from math import nan
from typing import Any, Final

from attrs import frozen

from vllmsim.api.dialect import Settings, all_refused
from vllmsim.api.frames import frame
from vllmsim.api.inferenceservice.messages import FinishInfo, GenerateResponse
from vllmsim.api.logprobs import PERIOD, alternatives, logprob
from vllmsim.api.scaleout.answer import spoken
from vllmsim.errors import InferenceError
from vllmsim.inference import Answer, InferenceRequest, Prefill, TokenizedPrompt

_LAST_ID: Final = 0xFFFFFFFF
"""Ids have 32 bits; behind the last comes the first."""
_REASONS: Final = {
    "length": FinishInfo.LENGTH,
    "stop": FinishInfo.STOP,
    "abort": FinishInfo.ABORTED,
    "cache_threshold": FinishInfo.ABORTED,
}


class PromptTelling:
    """What a request asks to know of its prompt.

    To write the log probabilities of a long one takes some hundred milliseconds: who has no such time calls
    :meth:`prepare` elsewhere first.

    :param options: what the request wants to be sent back.
    """

    def __init__(self, options: Any) -> None:
        self._options = options
        self._written: bytes | None = None

    @property
    def detailed(self) -> bool:
        """Whether it takes long."""
        return bool(self._options.prompt_logprobs or self._options.prompt_candidates)

    def prepare(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """Write it for the only prompt."""
        self._written = self._write(prompts[0], detailed=self.detailed)

    def write(self, prompt: TokenizedPrompt, *, refused: bool) -> bytes:
        """Write the message that has it and nothing else; bytes of others may follow, and make one message with it.

        :param refused: whether nothing was computed.
        """
        if refused:
            return self._write(prompt, detailed=False)
        return self._written or self._write(prompt, detailed=self.detailed)

    def _write(self, prompt: TokenizedPrompt, *, detailed: bool) -> bytes:
        response = GenerateResponse()
        told, options, length = response.prompt_info, self._options, len(prompt.ids)
        told.num_prompt_tokens = length
        if options.prompt_token_ids:
            told.token_ids.extend(prompt.ids)
        if detailed and options.prompt_logprobs:
            told.logprobs.extend([nan, *_logprobs(range(1, length))])
            told.ranks.extend([0, *[1] * (length - 1)])
        if detailed and options.prompt_candidates:
            candidates = Candidates(options.prompt_candidates)
            told.candidate_tokens.add()
            for position in range(1, length):
                candidates.add(told, position, prompt.ids[position])
        written: bytes = response.SerializeToString()
        return written


@frozen(eq=False)
class InferenceReading:
    """One request as it was read, and what both forms of its answer have in common.

    :param options: what the request wants to be sent back.
    :param prompt: what it wants to know of the prompt.
    :param candidates: tells those of the answers' tokens, if they are asked for.
    :param handed_over: whether another server is to go on after the prefill.
    """

    settings: Settings
    options: Any
    prompt: PromptTelling
    request: InferenceRequest
    candidates: "Candidates | None"
    handed_over: bool

    @property
    def tells(self) -> bool:
        """Whether text is sent back."""
        return not self.options.HasField("output_text") or bool(self.options.output_text)

    def add_tokens(self, response: Any, choice: int, answer: Answer, pieces: Sequence[str], run: range) -> None:
        """Add an output with some tokens of a choice, and with its end if they include the last.

        :param pieces: what each token of the answer adds to the text.
        :param run: the positions of the tokens.
        """
        options = self.options
        told = response.outputs.add(index=choice, num_tokens=len(run))
        if self.tells:
            told.text = "".join(pieces[run.start : run.stop])
        if options.output_token_ids:
            told.token_ids.extend(answer.ids[run.start : run.stop])
        if options.output_logprobs:
            told.logprobs.extend(_logprobs(run))
            told.ranks.extend([1] * len(run))
        if self.candidates is not None:
            for position in run:
                self.candidates.add(told, position, answer.ids[position])
        if run.stop == len(answer):
            self._add_finish(told.finish_info, answer)

    def _add_finish(self, told: Any, answer: Answer) -> None:
        told.num_output_tokens = len(answer)
        told.finish_reason = _REASONS[answer.finish_reason]
        stop = answer.stop_reason
        if isinstance(stop, str):
            told.stop_string = stop
        elif stop is not None:
            told.stop_token_id = stop
        elif answer.finish_reason == "stop" and answer.ids:
            told.eos_token_id = answer.ids[-1]
        if not self.handed_over:
            return
        handover = self.settings.remote.handover(self.request.answer_id, answer, self.settings.now())
        if handover is not None:
            told.kv_transfer_params.update(handover)


def _logprobs(run: range) -> Sequence[float]:
    """List the log probabilities of tokens by their positions."""
    # They repeat, and may be many.
    repeated = [logprob(position, 0) for position in run[:PERIOD]]
    return (repeated * -(-len(run) // PERIOD))[: len(run)]


class Candidates:
    """Tells tokens and what could have come in their places.

    :param count: how many there are for each token, itself included; at least 1.
    """

    def __init__(self, count: int) -> None:
        self._ranks = (0, *alternatives(count))
        self._told_ranks = [rank + 1 for rank in self._ranks]
        self._logprobs = [[logprob(position, rank) for rank in self._ranks] for position in range(PERIOD)]

    def add(self, told: Any, position: int, token: int) -> None:
        """Add those of one token.

        :param position: its place in the answer or the prompt.
        """
        told.candidate_tokens.add(
            token_ids=[token + rank & _LAST_ID for rank in self._ranks],
            logprobs=self._logprobs[position % PERIOD],
            ranks=self._told_ranks,
        )


class InferenceStream:
    """Writes an answer as a stream of messages."""

    def __init__(self, reading: InferenceReading) -> None:
        self._reading = reading
        self._pace = reading.settings.pace()
        self._prompt: TokenizedPrompt | None = None
        self._opened = False
        # Sized by the opening, when the simulator has checked that there are not too many choices.
        self._sent: list[int] = []
        self._pieces: list[Sequence[str]] = []

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Learn about the prompt; what is told of it is in the first message."""
        self._prompt = prompts[0]
        choices = self._reading.request.sampling.n
        self._sent, self._pieces = [0] * choices, [()] * choices
        return b""

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write the tokens `start` to `stop` of a choice, each in a message, or as many as go together."""
        if not start:
            self._pieces[choice] = spoken(answer)
        return b"".join(self._gathered(choice, answer, start, stop))

    def closing(self) -> bytes:
        """Write nothing: the status comes last."""
        return b""

    def failure(self, error: InferenceError) -> bytes:
        """Write nothing: the status tells."""
        return b""

    def _gathered(self, choice: int, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        """Gather tokens to messages: the first alone, then `interval` at a time, and the rest with the end."""
        length = len(answer)
        for token in range(start, stop):
            sent, count = self._sent[choice], token + 1
            if not sent or count == length or self._pace.due(sent, count, stop):
                yield self._message(choice, answer, range(sent, count))
        if start == stop == length:
            yield self._message(choice, answer, range(self._sent[choice], stop))

    def _message(self, choice: int, answer: Answer, run: range) -> bytes:
        about = b""
        if not self._opened:
            self._opened = True
            assert self._prompt is not None
            about = self._reading.prompt.write(self._prompt, refused=answer.refused)
        response = GenerateResponse()
        self._reading.add_tokens(response, choice, answer, self._pieces[choice], run)
        self._sent[choice] = run.stop
        return frame(about + response.SerializeToString())


@frozen(eq=False)
class InferenceWhole:
    """Writes an answer in one message."""

    _reading: InferenceReading

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write what is asked of the prompt, and every choice."""
        about = self._reading.prompt.write(prompts[0], refused=all_refused(answers))
        response = GenerateResponse()
        for choice, answer in enumerate(answers):
            self._reading.add_tokens(response, choice, answer, spoken(answer), range(len(answer)))
        return frame(about + response.SerializeToString())
