# -*- test-case-name: tests.api.engine.test_generate -*-
"""Answers of ``VllmEngine.Generate`` in pieces.

A stream is a ``chunk`` message per token of a choice (or per `stream-interval` tokens), and a ``complete`` message
behind the last of each choice, which says its tokens once more. What is counted and shown in a message are its own
tokens: who reads them adds up. The first chunk of each choice has the log probabilities of the prompt.

Chunks that differ in their token alone are one message, in which the token is set: to make it anew each time would cost
five times as much.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.api.engine.answer import GenerateReading
from vllmsim.api.engine.wire import enclosed
from vllmsim.api.frames import PREFIX, frame
from vllmsim.errors import InferenceError
from vllmsim.inference import Answer, Prefill, TokenizedPrompt

_CHUNK: Final = pb.GenerateResponse.CHUNK_FIELD_NUMBER
_GIVEN: Final = pb.GenerateStreamChunk.INPUT_LOGPROBS_FIELD_NUMBER


class GenerateStream:
    """Writes an answer as a stream of messages. The last of all comes with the end."""

    def __init__(self, reading: GenerateReading) -> None:
        self._reading, self._output = reading, reading.output
        self._pace = reading.settings.pace()
        self._plain = self._pace.single and self._output is None
        """Whether chunks behind the first differ in their token alone."""
        self._prompt: TokenizedPrompt
        # Sized by the opening, when the simulator has checked that there are not too many choices.
        self._sent: list[int] = []
        self._writers: list[Callable[[int], bytes] | None] = []
        self._open = 0
        self._last = b""

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Learn about the prompt; no message says more of it."""
        (self._prompt,) = prompts
        self._open = choices = self._reading.request.sampling.n
        self._sent, self._writers = [0] * choices, [None] * choices
        return b""

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write the tokens `start` to `stop` of a choice."""
        write = self._writers[choice]
        if write is None or start == stop:
            if not self._plain or stop - start < 2:  # noqa: PLR2004 - what comes behind the first
                return b"".join(self._messages(choice, answer, start, stop))
            first = self.tokens(choice, answer, start, start + 1)
            return first + self.tokens(choice, answer, start + 1, stop)
        if stop == len(answer.ids):
            return b"".join([*map(write, answer.ids[start:stop]), self._end(choice, answer, stop - 1)])
        self._sent[choice] = stop
        return write(answer.ids[start]) if stop - start == 1 else b"".join(map(write, answer.ids[start:stop]))

    def closing(self) -> bytes:
        """Write the last message, which ends the last choice."""
        return self._last

    def failure(self, error: InferenceError) -> bytes:
        """Write nothing: an error is in the status of the call."""
        return b""

    def _messages(self, choice: int, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        """Gather tokens to chunks: the first token alone, then `interval` at a time, and the rest with the end."""
        length, sent = len(answer), self._sent[choice]
        for token in range(start, stop):
            count = token + 1
            if not sent or count == length or self._pace.due(sent, count, stop):
                yield self._chunk(choice, answer, sent, count)
                if count == length:
                    break
                self._sent[choice] = sent = count
        if stop == length:
            if start == stop:
                yield self._chunk(choice, answer, sent, stop)
            yield self._end(choice, answer, sent)

    def _end(self, choice: int, answer: Answer, sent: int) -> bytes:
        """Write how a choice ends, or keep that if it is the last.

        :param sent: the first token of the last chunk.
        """
        complete = self._reading.complete(self._prompt, choice, answer, sent, self._output, shows_prompt=not sent)
        self._open -= 1
        if self._open:
            return complete
        self._last = complete
        return b""

    def _chunk(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write the tokens `start` to `stop` in one message."""
        message = pb.GenerateResponse()
        chunk = message.chunk
        chunk.token_ids.extend(answer.ids[start:stop])
        chunk.prompt_tokens = len(self._prompt.ids)
        chunk.completion_tokens = stop - start
        chunk.cached_tokens = answer.prefill.found
        chunk.index = choice
        if self._output is not None:
            shown = self._output.output(answer, start, stop)
            if shown is not None:
                chunk.output_logprobs.CopyFrom(shown)
        elif self._plain and stop > start:
            self._writers[choice] = _writer(message)
        given = self._reading.given
        if given is None or start:
            return frame(message.SerializeToString())
        return frame(enclosed(_CHUNK, chunk.SerializeToString() + enclosed(_GIVEN, given.write(self._prompt.ids))))


def _writer(like: pb.GenerateResponse) -> Callable[[int], bytes]:
    """Make what writes messages that differ from one in their only token."""
    message = pb.GenerateResponse()
    message.CopyFrom(like)
    ids, serialize, pack = message.chunk.token_ids, message.SerializeToString, PREFIX.pack

    def write(token: int) -> bytes:
        ids[0] = token
        data = serialize()
        return pack(0, len(data)) + data

    return write
