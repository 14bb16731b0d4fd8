# -*- test-case-name: tests.api.scaleout.test_generate -*-
"""Streamed answers to generate requests, as vLLM 0.33 writes them.

A stream is a chunk per token (or per `stream-interval` tokens), each with its choice; if asked for, a chunk with the
usage and no choices; ``[DONE]``. Just the first chunk has what the request asks to know of the prompt, and just the
last one of a choice says which weights made it, and where the prompt's KV blocks are if another server goes on.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from vllmsim.api.chatanswer import ChatStream
from vllmsim.api.chunks import MARKER, cut_frame
from vllmsim.api.dialect import usage
from vllmsim.api.eventstream import DONE, error_event, event
from vllmsim.api.scaleout.answer import GenerateReading, spoken
from vllmsim.errors import InferenceError
from vllmsim.inference import NOT_PREFILLED, Answer, Prefill, TokenizedPrompt

_ONE_ID: Final = b'"token_ids":[0]'


class Envelope:
    """Writes what the chunks of an answer have around their choices."""

    def __init__(self, reading: GenerateReading) -> None:
        options = reading.body.stream_options
        self._reading = reading
        self._include_usage = bool(options and options.include_usage)
        self.continuous = bool(self._include_usage and options and options.continuous_usage_stats)
        """Whether every chunk tells the usage."""
        self.opened = False
        """Whether the first chunk is out."""
        self._prefill = NOT_PREFILLED
        self._served = False

    def begin(self, prefill: Prefill) -> None:
        """Learn how the prompt was computed."""
        self._prefill = prefill

    def chunk(
        self, prompt: TokenizedPrompt, member: dict[str, Any], completion_tokens: int, answer: Answer | None = None
    ) -> bytes:
        """Write a chunk of one choice.

        :param completion_tokens: how many tokens the choice has with this chunk.
        :param answer: the whole answer, if these are its last tokens.
        """
        counts = usage(len(prompt.ids), completion_tokens, nulls=False) if self.continuous else None
        about = {} if self.opened else self._reading.about_prompt(prompt)
        self.opened = True
        told = {name: value for name, value in about.items() if value is not None}
        handover = None
        if answer is not None:
            self._served = self._served or not answer.refused
            handover = self._reading.handover(answer)
        return self._wrap(counts, told, [member], handover)

    def closing(self, prompt: TokenizedPrompt, completion_tokens: int) -> bytes:
        """Write the usage if it is asked for, and the end."""
        if not self._include_usage:
            return DONE
        details = self._reading.prompt_details(self._prefill, refused=not self._served)
        return self._wrap(usage(len(prompt.ids), completion_tokens, details, nulls=False), {}, []) + DONE

    def _wrap(
        self,
        counts: dict[str, Any] | None,
        told: dict[str, Any],
        choices: list[dict[str, Any]],
        handover: dict[str, Any] | None = None,
    ) -> bytes:
        mode = self._reading.body.output_mode
        return event(
            {
                "request_id": self._reading.request.answer_id,
                "usage": counts,
                **told,
                "output_mode": mode,
                "choices": choices,
                **({} if handover is None else {"kv_transfer_params": handover}),
            }
        )


class GenerateStream:
    """Writes an answer as a stream of chunks."""

    def __init__(self, reading: GenerateReading) -> None:
        self._reading, self._shower, self._envelope = reading, reading.shower, Envelope(reading)
        self._pace = reading.settings.pace()
        self._plain = self._pace.single and not (self._shower or self._envelope.continuous)
        self._tells = reading.body.output_mode == "text"
        self._prompts: Sequence[TokenizedPrompt] = ()
        # Sized by the opening, when the simulator has checked that there are not too many choices.
        self._sent: list[int] = []
        self._frames: list[tuple[bytes, bytes] | None] = []
        self._pieces: list[Sequence[str]] = []

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Learn about the prompt; there is no opening chunk."""
        self._prompts = prompts
        self._envelope.begin(prefill)
        choices = self._reading.request.sampling.n
        self._sent, self._frames, self._pieces = [0] * choices, [None] * choices, [()] * choices
        return b""

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write the tokens `start` to `stop` of a choice."""
        if self._tells and not start:
            self._pieces[choice] = spoken(answer)
        if not self._plain:
            return b"".join(self._gathered(choice, answer, start, stop))
        chunks = []
        if not self._envelope.opened and stop - start > 1:
            chunks.append(self._chunk(choice, answer, start, start + 1))
            start += 1
        ends = stop == len(answer) or not self._envelope.opened
        last = max(start, stop - 1) if ends else stop
        if last > start:
            chunks += self._plain_chunks(choice, answer, start, last)
        if ends:
            chunks.append(self._chunk(choice, answer, last, stop))
        self._sent[choice] = stop
        return b"".join(chunks)

    def closing(self) -> bytes:
        """Write the usage if it is asked for, and the end."""
        return self._envelope.closing(self._prompts[0], sum(self._sent))

    def failure(self, error: InferenceError) -> bytes:
        """Write an error, and the end."""
        return error_event(error)

    def _gathered(self, choice: int, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        """Gather tokens to chunks: the first token alone, then `interval` at a time, and the rest with the end."""
        length = len(answer)
        for token in range(start, stop):
            sent, count = self._sent[choice], token + 1
            if not sent or count == length or self._pace.due(sent, count, stop):
                yield self._chunk(choice, answer, sent, count)
                self._sent[choice] = count
        if start == stop == length:
            yield self._chunk(choice, answer, self._sent[choice], stop)
            self._sent[choice] = stop

    def _plain_chunks(self, choice: int, answer: Answer, start: int, stop: int) -> list[bytes]:
        """Write a chunk for each of some tokens that differ in nothing else."""
        before, after = self._frames[choice] or self._render_frame(choice)
        ids = answer.ids[start:stop]
        if not self._tells:
            return [before + b"%d" % token + after for token in ids]
        between, after = cut_frame(after)
        runs = zip(ids, self._pieces[choice][start:stop], strict=True)
        return [before + b"%d" % token + between + orjson.dumps(piece) + after for token, piece in runs]

    def _render_frame(self, choice: int) -> tuple[bytes, bytes]:
        said = {"text": MARKER} if self._tells else {}
        member = self._reading.choice(choice, Answer((), (), (), "stop"), [0], said, None, ends=False)
        before, _, after = self._envelope.chunk(self._prompts[0], member, 0).partition(_ONE_ID)
        frame = self._frames[choice] = before + _ONE_ID[:-2], _ONE_ID[-1:] + after
        return frame

    def _chunk(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        said = {"text": "".join(self._pieces[choice][start:stop])} if self._tells else {}
        shown = self._reading.logprobs(self._shower, answer, start, stop)
        ids, ends = list(answer.ids[start:stop]), stop == len(answer)
        member = self._reading.choice(choice, answer, ids, said, shown, ends=ends)
        return self._envelope.chunk(self._prompts[0], member, stop, answer if ends else None)


class ParsedStream(ChatStream):
    """Writes an answer as a stream of chunks whose choices have the deltas of a chat completion."""

    def __init__(self, reading: GenerateReading) -> None:
        super().__init__(reading.chat)
        self._asked, self._envelope = reading, Envelope(reading)
        self._plain = False

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Learn about the prompt; whose turn it is comes with the first delta."""
        super().opening(prompts, prefill)
        self._envelope.begin(prefill)
        return b""

    def closing(self) -> bytes:
        """Write the usage if it is asked for, and the end."""
        return self._envelope.closing(self._prompts[0], sum(self._sent))

    def _event(self, choice: int, member: dict[str, Any], answer: Answer, stop: int) -> bytes:
        delta = member["delta"] if self._sent[choice] else {"role": self._settings.response_role} | member["delta"]
        ids, ends = member["token_ids"], stop == len(answer)
        written = self._asked.choice(choice, answer, ids, {"delta": delta}, member["logprobs"], ends=ends)
        if ends:
            written["finish_reason"] = member["finish_reason"]
        return self._envelope.chunk(self._prompts[0], written, stop, answer if ends else None)
