# -*- test-case-name: tests.config.test_events -*-
"""Where and how a rank tells others about its KV blocks, from options in either form.

The flat options are those of llm-d-inference-sim: ``enable-kvcache`` with ``zmq-endpoint`` and what belongs to that.
``kv-events-config`` is vLLM's; where it is given, it alone says where events go, and they are maps, as in vLLM. Either
way each rank has endpoints of its own: ports count up with its number.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from attrs import frozen

from vllmsim.config.options.cache import MOST_MESSAGES
from vllmsim.config.pluginnames import PUBLISHERS, is_plugin_name
from vllmsim.config.plugins import publisher_of
from vllmsim.config.schema import Configuration

_QUEUE: Final = 100_000
_BATCH: Final = 512
"""Most events in a batch in vLLM's form: there it is all of a step. So many are written in some milliseconds."""
_LAST_PORT: Final = 65535
_ENDPOINT: Final = re.compile(r"tcp://[^\s/]+:([0-9]{1,9}|\*)|ipc://\S+|inproc://\S+")
_FOUND: Final = re.compile(r"tcp://.+:(0+|\*)|ipc://\*")


@frozen(kw_only=True)
class EventsConfig:
    """The members of ``kv-events-config``, with vLLM's names and defaults."""

    enable_kv_cache_events: bool = False
    publisher: str | None = None
    endpoint: str = "tcp://*:5557"
    replay_endpoint: str | None = None
    buffer_steps: int = 10_000
    hwm: int = 100_000
    max_queue_size: int = _QUEUE
    topic: str = ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_MESSAGES


_COUNT: Final = (_is_count, f"an integer from 1 to {MOST_MESSAGES}")
_MEMBERS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "enable_kv_cache_events": (lambda value: isinstance(value, bool), "true or false"),
    "publisher": (
        lambda value: value is None or value in PUBLISHERS or is_plugin_name(value),
        'null, "zmq", "null" or the name of a plugin',
    ),
    "endpoint": (lambda value: _is_text(value) and value != "", "text, and not empty"),
    "replay_endpoint": (lambda value: value is None or _is_text(value), "text or null"),
    "buffer_steps": _COUNT,
    "hwm": _COUNT,
    "max_queue_size": _COUNT,
    "topic": (_is_text, "text"),
}


def parse_events_config(members: Mapping[str, Any]) -> EventsConfig:
    """Read ``kv-events-config``.

    :raises ValueError: naming every member that is wrong.
    """
    faults = []
    for name, value in members.items():
        is_allowed, allowed = _MEMBERS.get(name, (None, ""))
        if is_allowed is None:
            faults.append(f"{name} is none of {', '.join(_MEMBERS)}")
        elif not is_allowed(value):
            faults.append(f"{name} must be {allowed}, not {value!r}")
    if faults:
        raise ValueError("; ".join(faults))
    return EventsConfig(**members)


@frozen(kw_only=True)
class EventSettings:
    """How one rank tells others about its KV blocks.

    :param endpoint: where events are published, in ZeroMQ's syntax.
    :param replay_endpoint: where they can be asked for again; nowhere if empty.
    :param buffer_steps: how many messages are kept for that.
    :param hwm: how many messages may wait for one subscriber.
    :param max_queue_size: how many events may wait until they are written.
    :param topic: the first frame of each message.
    :param maps: whether events are maps, not arrays.
    :param batch_size: the most events in a message.
    :param flush_interval: seconds that an event waits for others; 0 for the current turn of the reactor.
    :param int_hashes: whether hashes are the last 64 bits of digests, not whole digests.
    :param connect_attempts: how often to try to reach an endpoint that is not ours; 0 for ever.
    :param publisher: who publishes: ``zmq``, or a plugin, which knows neither of the endpoints.
    """

    endpoint: str
    replay_endpoint: str
    buffer_steps: int
    hwm: int
    max_queue_size: int
    topic: str
    maps: bool
    batch_size: int
    flush_interval: float
    int_hashes: bool
    connect_attempts: int
    publisher: str = PUBLISHERS[0]

    def described(self) -> dict[str, Any]:
        """Make what ``/kv_event_sources`` tells of a rank."""
        if self.publisher != PUBLISHERS[0]:
            return {"enable_kv_cache_events": True, "publisher": self.publisher, "topic": self.topic}
        return {
            "enable_kv_cache_events": True,
            "publisher": self.publisher,
            "endpoint": self.endpoint,
            "replay_endpoint": self.replay_endpoint or None,
            "buffer_steps": self.buffer_steps,
            "hwm": self.hwm,
            "max_queue_size": self.max_queue_size,
            "topic": self.topic,
        }


def binds(endpoint: str) -> bool:
    """Tell whether an endpoint is ours to bind; others are bound by who subscribes, and we connect."""
    return "*" in endpoint or "::" in endpoint or endpoint.startswith(("ipc://", "inproc://"))


def is_found(endpoint: str) -> bool:
    """Tell whether an endpoint leaves it to the system where that is: then it is known when it is bound."""
    return _FOUND.fullmatch(endpoint) is not None


def endpoint_of_rank(endpoint: str, number: int) -> str:
    """Find a rank's own endpoint.

    :param endpoint: that of rank 0; it may have ``{rank}`` in it. Nowhere if empty.
    :param number: the rank.
    :raises ValueError: when it is no endpoint of ZeroMQ, or cannot be one for this rank.
    """
    if not endpoint:
        return ""
    named = endpoint.replace("{rank}", str(number))
    match = _ENDPOINT.fullmatch(named)
    if match is None:
        raise ValueError(f"{endpoint!r} is none of tcp://HOST:PORT, ipc://PATH and inproc://NAME")
    port = match[1]
    if port is None:
        if not number or named != endpoint:
            return named
        if named.startswith("inproc://"):
            return f"{named}_dp{number}"
        raise ValueError(f"{endpoint!r} cannot be that of rank {number} too; put {{rank}} in it")
    # ZeroMQ finds a free port for 0 and *.
    if port == "*" or not int(port):
        return named
    if int(port) + number > _LAST_PORT:
        raise ValueError(f"{endpoint!r} leaves no port for rank {number}")
    return f"{named.removesuffix(port)}{int(port) + number}"


def event_settings(configuration: Configuration, number: int) -> EventSettings | None:
    """Find out how a rank tells others about its KV blocks.

    :param number: the rank.
    :return: None if it tells nobody.
    :raises ValueError: when an endpoint is wrong.
    """
    settings = batch_settings(configuration, number)
    if settings is None or (settings.publisher == PUBLISHERS[0] and not settings.endpoint):
        return None
    return settings


def batch_settings(configuration: Configuration, number: int) -> EventSettings | None:
    """Find out how a rank makes batches of events, for whoever wants them.

    :param number: the rank.
    :return: None if nobody is to be told. With neither a plugin nor an endpoint nobody publishes them; they can still
        be read in the rank's process.
    :raises ValueError: when an endpoint is wrong.
    """
    c = configuration
    publisher = publisher_of(c)[1]
    usual: dict[str, Any] = {
        "publisher": publisher,
        "flush_interval": c.event_flush_interval,
        "int_hashes": c.kv_events_use_int_block_hashes,
        "connect_attempts": c.zmq_max_connect_attempts,
    }
    if not c.caches_prefixes or publisher == "null":
        return None
    if c.kv_events_config is None:
        return EventSettings(
            endpoint=endpoint_of_rank(c.zmq_endpoint, number),
            replay_endpoint=endpoint_of_rank(c.kv_events_replay_endpoint, number),
            buffer_steps=c.kv_events_replay_queue_size,
            hwm=c.event_high_water_mark,
            max_queue_size=_QUEUE,
            topic=_topic(c, number),
            maps=c.use_vllm_map_event_format,
            batch_size=c.event_batch_size,
            **usual,
        )
    config = parse_events_config(c.kv_events_config)
    if not config.enable_kv_cache_events:
        return None
    return EventSettings(
        endpoint=endpoint_of_rank(config.endpoint, number),
        replay_endpoint=endpoint_of_rank(config.replay_endpoint or "", number),
        buffer_steps=config.buffer_steps,
        hwm=config.hwm,
        max_queue_size=config.max_queue_size,
        topic=config.topic,
        maps=True,
        batch_size=_BATCH,
        **usual,
    )


def _topic(c: Configuration, number: int) -> str:
    places = {
        "{ip}": c.pod_ip or "localhost",
        "{port}": str(c.port_of(number)),
        "{rank}": str(number),
        "{model}": c.served_names[0],
    }
    return re.sub(r"\{\w+\}", lambda match: places.get(match[0], match[0]), c.kv_events_topic)


def event_doubt(configuration: Configuration) -> str:
    """Say in a sentence why ``kv-events-config`` publishes nothing though it seems that it should; empty if it does."""
    if configuration.kv_events_config is None:
        return ""
    config = parse_events_config(configuration.kv_events_config)
    if config.enable_kv_cache_events and not configuration.caches_prefixes:
        off = "enable-prefix-caching" if configuration.enable_kvcache else "enable-kvcache"
        return f"kv-events-config wants KV events, and there are none without {off}."
    if config.publisher not in {None, "null"} and not config.enable_kv_cache_events:
        return "kv-events-config has a publisher, and no KV events without enable_kv_cache_events."
    return ""


def event_sources(configuration: Configuration) -> dict[int, dict[str, Any]]:
    """Make what ``/kv_event_sources`` tells: all ranks of which others can know, by number."""
    sources = {}
    for number in {*range(configuration.data_parallel_size), *configuration.ranks}:
        # Ranks of other servers may have no endpoint by our rules.
        with suppress(ValueError):
            if settings := event_settings(configuration, number):
                sources[number] = settings.described()
    return sources
