"""Messages of ``VllmEngine``, as tests make and read them."""

from typing import Any

from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from tests.api.golden import settings
from tests.fakes import prefilled
from vllmsim.api.body import Head
from vllmsim.api.dialect import Call, StreamEncoder
from vllmsim.api.engine.generate import GenerateDialect
from vllmsim.api.frames import PREFIX
from vllmsim.inference import Answer, TokenizedPrompt

FIVE = [1, 2, 3, 4, 5]
HEAD = Head()


def generate(sampling: dict[str, Any] | None = None, ids: list[int] | None = None, **fields: Any) -> pb.GenerateRequest:
    """Make a request with token ids, unless `fields` say otherwise."""
    if "text" not in fields:
        fields.setdefault("tokenized", pb.TokenizedInput(input_ids=FIVE if ids is None else ids))
    return pb.GenerateRequest(sampling_params=pb.SamplingParams(**sampling or {}), **fields)


def parse(request: pb.GenerateRequest, head: Head = HEAD, **more: Any) -> Call:
    """Have a request read, as a server with a context of 256 tokens does."""
    return GenerateDialect(settings(**more), 256).parse(request.SerializeToString(), head)


def messages_in(data: bytes) -> list[bytes]:
    """Take messages out of their frames."""
    messages = []
    while data:
        compressed, length = PREFIX.unpack_from(data)
        assert not compressed
        assert len(data) >= PREFIX.size + length
        messages.append(data[PREFIX.size : PREFIX.size + length])
        data = data[PREFIX.size + length :]
    return messages


def responses(data: bytes) -> list[pb.GenerateResponse]:
    """Read the messages of an answer."""
    return [pb.GenerateResponse.FromString(message) for message in messages_in(data)]


def encoder(request: pb.GenerateRequest, prompt: TokenizedPrompt, **more: Any) -> StreamEncoder:
    """Make the writer of a stream, which has begun."""
    made = parse(request, **more).stream_encoder
    assert made is not None
    begun = made()
    assert begun.opening([prompt], prefilled([prompt])) == b""
    return begun


def whole(request: pb.GenerateRequest, prompt: TokenizedPrompt, *answers: Answer, **more: Any) -> list[Any]:
    """Write an answer in one piece, and read its messages, each of which ends a choice."""
    body = parse(request, **more).whole_encoder().body([prompt], prefilled([prompt]), answers)
    return [response.complete for response in responses(body)]


def streamed(request: pb.GenerateRequest, prompt: TokenizedPrompt, *answers: Answer, **more: Any) -> list[Any]:
    """Write a stream whose choices take turns token by token, and read its messages."""
    request.stream = True
    begun = encoder(request, prompt, **more)
    sent = b""
    for token in range(max(map(len, answers))):
        for choice, answer in enumerate(answers):
            sent += begun.tokens(choice, answer, token, token + 1) if token < len(answer) else b""
    return [getattr(response, str(response.WhichOneof("response"))) for response in responses(sent + begun.closing())]
