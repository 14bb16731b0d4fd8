# -*- test-case-name: tests.api.engine.test_serverinfo -*-
"""``VllmEngine.GetServerInfo``: what a gateway is told of the server, and of how it is set up.

A prefill and a decode server may work together when what these tell of the KV cache is the same: its number type, its
blocks, its kernel, and the number type of the model. Where ``mm_processor`` says anything, prompts may refer to images
by their addresses. The simulator takes these for what they are and fetches nothing, so that it says so of any scheme.
``shm_namespace_id`` stays empty: what is in shared memory is never read here, and nobody should put anything there.
"""

from typing import Final

from attrs import frozen
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

_SERVER_TYPE: Final = "vllm-grpc"
_SCHEMES: Final = "data,http,https"
_NUMBERS: Final = frozenset({"float32", "float16", "bfloat16"})
_MOST: Final = (1 << 31) - 1


@frozen(kw_only=True)
class ServerSetup:
    """How a server is set up.

    :param connector: what moves KV blocks between servers; empty for nothing.
    :param role: whether it gives blocks, takes them, or both; empty without a connector.
    :param engine_id: its name among its peers; empty without a connector.
    :param ranks: how many data-parallel ranks there are, here and elsewhere.
    :param cache_dtype: the number type of the KV cache.
    :param block_size: tokens per block.
    :param attention_backend: the kernel; empty for whichever it finds.
    :param model_dtype: the number type of the model.
    :param pairing: what a prefill and a decode server must have in common, if an operator says so.
    :param sees: whether prompts may have images.
    :param reasoning_parser: what tells reasoning from the answer; empty where there is none.
    """

    connector: str = ""
    role: str = ""
    engine_id: str = ""
    ranks: int = 1
    cache_dtype: str = "auto"
    block_size: int = 0
    attention_backend: str = ""
    model_dtype: str = "bfloat16"
    pairing: str = ""
    sees: bool = False
    reasoning_parser: str = ""


@frozen(kw_only=True)
class ServerState:
    """How a server is now.

    :param in_flight: requests that are not answered yet.
    :param paused: whether it lets none in.
    :param last_output: when it last generated anything, in seconds since the epoch; 0 if it has not, or nobody knows.
    :param uptime: seconds since its start.
    :param most_running: how many sequences may run at the same time.
    """

    in_flight: int = 0
    paused: bool = False
    last_output: float = 0.0
    uptime: float = 0.0
    most_running: int = 0


def server_info(setup: ServerSetup, state: ServerState) -> pb.GetServerInfoResponse:
    """Write both."""
    return pb.GetServerInfoResponse(
        active_requests=state.in_flight,
        is_paused=state.paused,
        last_receive_timestamp=state.last_output,
        uptime_seconds=state.uptime,
        server_type=_SERVER_TYPE,
        kv_connector=setup.connector,
        kv_role=setup.role,
        kv_engine_id=setup.engine_id,
        data_parallel_size=setup.ranks,
        kv_cache_dtype=setup.cache_dtype,
        block_size=setup.block_size,
        attention_backend=setup.attention_backend,
        model_dtype=f"torch.{setup.model_dtype}",
        pairing_protocol=setup.pairing,
        mm_processor="inprocess" if setup.sees else "",
        mm_media_ref_schemes=_SCHEMES if setup.sees else "",
        mm_processor_source="default" if setup.sees else "",
        max_num_seqs=min(state.most_running, _MOST),
        multimodal_encoder_dtype=setup.model_dtype if setup.model_dtype in _NUMBERS else "",
        engine_reasoning_parser=setup.reasoning_parser,
        # Where answers begin with reasoning, what they must conform to is what follows it.
        constrained_decoding_start="after_reasoning" if setup.reasoning_parser else "first_token",
    )
