# -*- test-case-name: tests.grpc.test_control -*-
"""The services of vLLM's front-end in Rust, which it has beside HTTP: ``vllm.Inference`` and ``vllm.Control``."""

from collections.abc import Iterator
from functools import partial

from vllmsim import VLLM_VERSION
from vllmsim.api.controlservice.answers import ServerFacts
from vllmsim.api.inferenceservice.generate import InferenceDialect
from vllmsim.assembly.surfaces import Surfaces
from vllmsim.config.schema import Configuration
from vllmsim.grpc.control import ControlCalls, Permissions
from vllmsim.grpc.inference import InferenceCalls
from vllmsim.grpc.service import Implementation
from vllmsim.identity import engine_id
from vllmsim.leaving import ask_to_stop


def front_end_calls(surfaces: Surfaces) -> Iterator[Implementation]:
    """Make the services that a rank has; one that only pools continues no prompts."""
    c = surfaces.configuration
    whole, streamed = (
        surfaces.latest(partial(InferenceDialect, max_model_len=c.max_model_len, streams=streams))
        for streams in (False, True)
    )
    yield from surfaces.chosen([InferenceCalls(surfaces.answering, whole, streamed)], [])
    yield ControlCalls(
        surfaces.doors.control,
        surfaces.models,
        surfaces.adapter_loading(),
        lambda: _facts(surfaces.live.current, surfaces.number, surfaces.seed),
        surfaces.doors.event_sources,
        partial(ask_to_stop, supervised=c.data_parallel_processes),
        Permissions(
            operate=c.server_dev_mode,
            shut_down=not (c.admin_api_key or c.admin_endpoint),
            from_afar=bool(c.api_key or c.api_key_file or c.tenants),
            load=c.allow_runtime_lora_updating,
            sleep=c.enable_sleep_mode,
        ),
    )


def _facts(c: Configuration, number: int, seed: int) -> ServerFacts:
    return ServerFacts(
        version=VLLM_VERSION,
        instance=engine_id(c, seed, number),
        tensor_parallel_size=max(1, c.tensor_parallel_size),
        pipeline_parallel_size=c.pipeline_parallel_size,
        data_parallel_size=c.data_parallel_size,
        rank=number,
        max_model_len=c.max_model_len,
        block_size=c.block_size,
        blocks=c.kv_cache_size if c.enable_kvcache else 0,
        max_num_seqs=c.max_num_seqs,
        max_loras=c.max_loras,
        model=c.model,
        names=c.served_names,
        reasoning_parser=c.reasoning_parser,
        tool_call_parser=c.tool_call_parser,
    )
