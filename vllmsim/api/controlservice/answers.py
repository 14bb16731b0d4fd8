# -*- test-case-name: tests.api.controlservice.test_answers -*-
"""What ``vllm.Control`` tells of a server, and how what it is told is read."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from vllmsim.api.controlservice.messages import answer_to
from vllmsim.errors import InvalidParameter
from vllmsim.interfaces import IModelCatalogue, PauseMode

_API_VERSION: Final = "1"
_ENCODING: Final = "msgpack"
_MODES: Final[Mapping[int, PauseMode]] = {0: "abort", 1: "wait", 2: "keep"}
_USUAL_LEVEL: Final = 1
_LEVELS: Final = range(3)
_TAGS: Final = frozenset({"weights", "kv_cache"})
_MOST: Final = 0xFFFFFFFF
"""The largest number that there is room for; what is more is as good as no limit."""
_SHOWN: Final = 64
"""How many characters of what is wrong are shown."""


@frozen(kw_only=True)
class ServerFacts:
    """What clients may know of how a server is set up.

    :param version: the release of the vLLM that is simulated.
    :param instance: an id that no other server has.
    :param rank: which data-parallel rank answers.
    :param blocks: how many KV blocks there are; 0 where none are simulated.
    :param max_num_seqs: how many sequences run at a time.
    :param model: the model's path or hub id.
    :param names: what requests may call it, at least one; answers carry the first.
    """

    version: str
    instance: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    data_parallel_size: int
    rank: int
    max_model_len: int
    block_size: int
    blocks: int
    max_num_seqs: int
    max_loras: int
    model: str
    names: Sequence[str]
    reasoning_parser: str
    tool_call_parser: str

    def server_info(self) -> Any:
        """Tell how the server is set up."""
        answer = answer_to(
            "GetServerInfo",
            engine_version=self.version,
            api_version=_API_VERSION,
            instance_id=self.instance,
            max_model_len=min(self.max_model_len, _MOST),
            kv_block_size=min(self.block_size, _MOST),
            total_kv_blocks=min(self.blocks, _MOST),
            max_running_requests=min(self.max_num_seqs, _MOST),
            max_loras=min(self.max_loras, _MOST),
            effective_attention_block_size=min(self.block_size, _MOST),
        )
        told = answer.parallelism
        told.tensor_parallel_size, told.pipeline_parallel_size = self.tensor_parallel_size, self.pipeline_parallel_size
        told.data_parallel_size, told.data_parallel_rank = self.data_parallel_size, self.rank
        return answer

    def model_info(self) -> Any:
        """Tell what the model is, and what it can be given: over this service, no media."""
        name, *aliases = self.names
        return answer_to(
            "GetModelInfo",
            model_id=self.model,
            served_model_name=name,
            served_model_aliases=aliases,
            supports_text_input=True,
            supports_token_ids_input=True,
            supports_lora=True,
            supports_multimodal=False,
            reasoning_parser=self.reasoning_parser,
            tool_call_parser=self.tool_call_parser,
        )


def loras(models: IModelCatalogue) -> Any:
    """List the adapters that are served, in the order in which they were loaded."""
    answer = answer_to("ListLoras")
    for name, path, parent in models.cards():
        adapter = None if parent is None else models.adapter(name)
        if adapter is not None:
            answer.loras.add(lora_name=name, lora_path=path, lora_id=adapter.number, base=parent)
    return answer


def event_sources(sources: Mapping[int, Mapping[str, Any]]) -> Any:
    """Tell where each rank publishes its KV events.

    :param sources: by rank, what ``/kv_event_sources`` tells.
    """
    answer = answer_to("GetKvEventSources")
    for rank, source in sorted(sources.items()):
        told = answer.sources.add(transport=source["publisher"], data_parallel_rank=rank, encoding=_ENCODING)
        for name in ("endpoint", "topic", "replay_endpoint", "buffer_steps", "hwm", "max_queue_size"):
            if source.get(name) is not None:
                setattr(told, name, source[name])
    return answer


def pause_mode(number: int) -> PauseMode:
    """Read what is to happen to what runs.

    :raises InvalidParameter: when the number means nothing.
    """
    if number not in _MODES:
        raise InvalidParameter("mode must be ABORT, WAIT or KEEP.", "mode", number)
    return _MODES[number]


def clears_cache(request: Any) -> bool:
    """Read whether a pause empties the prefix cache; it does unless that is refused."""
    return not request.HasField("clear_cache") or bool(request.clear_cache)


def sleep_level(request: Any) -> int:
    """Read how deep a server is to sleep.

    :raises InvalidParameter: when nobody sleeps so.
    """
    level: int = request.level if request.HasField("level") else _USUAL_LEVEL
    if level not in _LEVELS:
        raise InvalidParameter("level must be 0, 1 or 2.", "level", level)
    return level


def wake_tags(request: Any) -> Collection[str]:
    """Read what is to wake up; nothing stands for everything.

    :raises InvalidParameter: when something is named that never sleeps.
    """
    unknown = next((tag for tag in request.tags if tag not in _TAGS), None)
    if unknown is not None:
        raise InvalidParameter("tags must be weights and kv_cache.", "tags", unknown[:_SHOWN])
    return frozenset(request.tags)
