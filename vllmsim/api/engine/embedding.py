# -*- test-case-name: tests.api.engine.test_embedding -*-
"""``VllmEngine.Embed``: token ids in, a vector out. It has the model's own length: nobody can ask for another."""

from collections.abc import Sequence

from attrs import evolve, frozen
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.api.body import Head
from vllmsim.api.declared import read_message
from vllmsim.api.frames import frame
from vllmsim.api.naming import Named
from vllmsim.api.pooling.inputs import PoolingBody, PoolingCall, PoolingSettings, Reply
from vllmsim.api.spoiling import MESSAGES
from vllmsim.errors import InvalidRequest, PromptTooLong
from vllmsim.inference import TokenPrompt
from vllmsim.pooling import Pooled, PoolingInput, PoolingRequest


@frozen(eq=False)
class EmbedDialect:
    """Reads requests to embed.

    :param embeds: whether the model does.
    """

    _settings: PoolingSettings
    _embeds: bool = True

    def parse(self, body: bytes, head: Head) -> PoolingCall:
        """Read a request; see :class:`vllmsim.api.pooling.inputs.PoolingDialect`."""
        message, settings = read_message(pb.EmbedRequest, body), self._settings
        if not message.HasField("tokenized"):
            raise InvalidRequest("EmbedRequest requires tokenized input")
        if not self._embeds:
            raise InvalidRequest("Unsupported task: 'embed' Supported tasks: []")
        ids, most = message.tokenized.input_ids, settings.max_model_len
        if len(ids) > most:
            raise PromptTooLong(most, len(ids), exact=len(ids) != most + 1)
        # The id in the message is the one by which the client knows it.
        named = evolve(head, request_id=message.request_id or head.request_id)
        request = PoolingRequest(
            "embed",
            (PoolingInput(TokenPrompt(tuple(ids))),),
            settings.dimensions,
            behaviour=settings.settings.behaviour,
        )
        reading = settings.reading("", named, PoolingBody())
        return PoolingCall(request, write_vector, reading, spoiling=MESSAGES)

    def named(self, body: bytes, head: Head) -> Named:
        """Tell what a request says of itself; see :mod:`vllmsim.api.naming`."""
        read_message(pb.EmbedRequest, body)
        return Named(None, streamed=False)


def write_vector(pooled: Sequence[Pooled]) -> Reply:
    """Write the one vector, in its frame."""
    [each] = pooled
    [vector] = each.vectors
    message = pb.EmbedResponse(embedding=vector, prompt_tokens=each.tokens, embedding_dim=len(vector))
    return Reply((frame(message.SerializeToString()),), "application/grpc")
