"""Calls over gRPC: what they ask, and what their messages say."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError
from smg_grpc_proto import vllm_engine_pb2 as pb

from tests.soak.exchanges import Reply
from vllmsim.api.frames import frame
from vllmsim.api.inferenceservice.messages import FinishInfo, GenerateRequest, GenerateResponse

ENGINE: Final = "/vllm.grpc.engine.VllmEngine/"
INFERENCE: Final = "/vllm.Inference/"
HEADERS: Final[Mapping[str, str]] = {"content-type": "application/grpc", "te": "trailers"}
CODES: Final = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")  # fmt: skip


def engine(ids: list[int], *, stream: bool, **sampling: Any) -> bytes:
    """Ask VllmEngine for tokens."""
    wanted = pb.SamplingParams(**sampling)
    request = pb.GenerateRequest(tokenized=pb.TokenizedInput(input_ids=ids), sampling_params=wanted, stream=stream)
    return frame(request.SerializeToString())


def embed(ids: list[int]) -> bytes:
    """Ask VllmEngine for a vector."""
    return frame(pb.EmbedRequest(tokenized=pb.TokenizedInput(input_ids=ids)).SerializeToString())


def inference(text: str, n: int, most: int, model: str = "") -> bytes:
    """Ask Inference for a text."""
    wanted = {"num_sequences": n}
    stopping = {"max_new_tokens": most, "ignore_eos": True}
    request = GenerateRequest(text=text, sampling=wanted, stopping=stopping, lora_name=model)
    return frame(request.SerializeToString())


def abort(ids: list[str]) -> bytes:
    """Ask VllmEngine to end requests."""
    return frame(pb.AbortRequest(request_ids=ids).SerializeToString())


def messages(body: bytes, kind: Any) -> list[Any]:
    """Read the messages of an answer.

    :raises ValueError: when it breaks off, or has what is none.
    """
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        if len(body) < 5 + size:
            raise ValueError("a message breaks off")
        try:
            found.append(kind.FromString(body[5 : 5 + size]))
        except DecodeError as error:
            raise ValueError(str(error)) from error
        body = body[5 + size :]
    return found


def code(reply: Reply) -> str:
    """Tell how a call went."""
    told = {**reply.headers, **reply.trailers}.get("grpc-status")
    return "" if told is None else CODES[int(told)]


Told = Callable[[int, str], None]
"""Takes the number of tokens of a choice, and why it has ended."""


def read_engine(reply: Reply, *, stream: bool, ended: Told) -> int | None:
    """Read what VllmEngine says.

    :return: how many tokens came one by one; None where they do not.
    """
    counted = 0
    for each in messages(reply.body, pb.GenerateResponse):
        if each.HasField("chunk"):
            counted += len(each.chunk.token_ids)
        else:
            ended(each.complete.completion_tokens, each.complete.finish_reason)
            counted += 0 if stream else len(each.complete.output_ids)
    return counted


def read_vector(reply: Reply) -> None:
    """Read a vector that VllmEngine has made."""
    [vector] = messages(reply.body, pb.EmbedResponse)
    if len(vector.embedding) != vector.embedding_dim:
        raise ValueError("the vector breaks off")


def read_inference(reply: Reply, *, ended: Told) -> int:
    """Read what Inference says.

    :return: how many tokens came.
    """
    counted = 0
    for each in messages(reply.body, GenerateResponse):
        for output in each.outputs:
            counted += output.num_tokens
            if output.finish_info.finish_reason:
                aborted = output.finish_info.finish_reason == FinishInfo.ABORTED
                ended(output.finish_info.num_output_tokens, "abort" if aborted else "end")
    return counted
