# -*- test-case-name: tests.config.test_rules -*-
"""What options must satisfy together. Each rule names the options it looks at; the first is the one to blame."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from vllmsim.config.administration import admin_fault
from vllmsim.config.backends import parse_backend
from vllmsim.config.blocks import FEWEST_BLOCKS
from vllmsim.config.collector import parse_collector
from vllmsim.config.datasets import is_sha256
from vllmsim.config.events import binds, endpoint_of_rank, parse_events_config
from vllmsim.config.middlewares import middleware_fault
from vllmsim.config.pluginnames import PUBLISHERS
from vllmsim.config.plugins import plugin_options_fault
from vllmsim.config.rankrules import BALANCING, RANK_RULES, RANKS, Rule
from vllmsim.config.schema import Configuration
from vllmsim.config.steprules import STEP_RULES
from vllmsim.config.steptimes import device_fault, model_fault, profile_fault
from vllmsim.config.tls import TLS_RULES
from vllmsim.config.tokenizers import kind_of_tokenizer
from vllmsim.config.transfer import read_transfer
from vllmsim.durations import format_duration

_MAX_DEVIATION: Final = 0.3
_DETAILED: Final = ("model", "worker", "all")
_STEP_TIME: Final = ("step-time", "step-profile", "model-preset", "model-shape")
_CACHED: Final = ("enable-kvcache", "scheduling-model", "enable-prefix-caching", "kv-events-config")


def _deviation(name: str) -> Rule:
    deviation = f"{name}-std-dev"

    def check(configuration: Configuration) -> str | None:
        mean: float = getattr(configuration, name.replace("-", "_"))
        spread: float = getattr(configuration, deviation.replace("-", "_"))
        if spread <= _MAX_DEVIATION * mean * (1 + 1e-9):
            return None
        return f"{format_duration(spread)} is more than 30 % of {name}, which is {format_duration(mean)}"

    return (deviation, name), check


def _ordered(subject: str) -> Rule:
    least, most = f"min-tool-call-{subject}", f"max-tool-call-{subject}"

    def check(configuration: Configuration) -> str | None:
        low, high = (getattr(configuration, name.replace("-", "_")) for name in (least, most))
        return None if low <= high else f"{high} is less than {least}, which is {low}"

    return (most, least), check


def _cpu_loras(c: Configuration) -> str | None:
    if not c.max_cpu_loras or c.max_cpu_loras >= c.max_loras:
        return None
    return f"{c.max_cpu_loras} is less than max-loras, which is {c.max_loras}"


def _lora_bases(c: Configuration) -> str | None:
    wrong = [m for m in c.lora_modules if m.base_model_name not in {None, c.model, *c.served_names}]
    return f"{wrong[0].name!r} belongs to {wrong[0].base_model_name!r}, and {c.model!r} is served" if wrong else None


def _lora_names(c: Configuration) -> str | None:
    taken = set(c.served_names)
    for module in c.lora_modules:
        if module.name in taken:
            return f"{module.name!r} is there twice, or is the model's own name"
        taken.add(module.name)
    return None


def _blocks(c: Configuration) -> str | None:
    return _too_few(c) if c.num_gpu_blocks_override is None else None


def _blocks_override(c: Configuration) -> str | None:
    return None if c.num_gpu_blocks_override is None else _too_few(c)


def _too_few(c: Configuration) -> str | None:
    if not c.enable_kvcache or c.kv_cache_size >= FEWEST_BLOCKS:
        return None
    return f"{c.kv_cache_size} is too few for a KV cache: no sequence gets the first block, so that it takes 2 or more"


def _ports(endpoint: str, configuration: Configuration) -> range | None:
    match = re.search(r"^tcp://.*:(\d+)$", endpoint)
    ranks = configuration.ranks
    return range(int(match[1]) + ranks.start, int(match[1]) + ranks.stop) if match and int(match[1]) else None


def _meeting(replay: str, live: str, c: Configuration) -> str | None:
    """Tell whether two sockets would be bound to one port; where we connect to is elsewhere."""
    if not replay or not binds(live):
        return None
    ours, others = _ports(replay, c), _ports(live, c)
    if replay == live and ours is None and not replay.startswith("tcp://"):
        return f"{replay!r} cannot be both where events are published and where they are asked for"
    if ours is None or others is None or ours.start >= others.stop or others.start >= ours.stop:
        return None
    return f"its ports from {ours.start} meet those where events are published, from {others.start}, one for each rank"


def _event_ports(c: Configuration) -> str | None:
    return _meeting(c.kv_events_replay_endpoint, c.zmq_endpoint, c)


def _event_endpoint(name: str) -> Rule:
    def check(c: Configuration) -> str | None:
        return _wrong_endpoint(getattr(c, name.replace("-", "_")), c)

    return (name, *RANKS), check


def _wrong_endpoint(endpoint: str, c: Configuration) -> str | None:
    try:
        for number in c.ranks:
            endpoint_of_rank(endpoint, number)
    except ValueError as error:
        return str(error)
    return None


def _replay_of_plugin(c: Configuration) -> str | None:
    more = c.kv_events_replay_endpoint and c.kv_events_config is None and c.kv_events_publisher not in PUBLISHERS
    return f"asks for events of zmq, and {c.kv_events_publisher} publishes them" if more else None


def _events_config(c: Configuration) -> str | None:
    try:
        config = parse_events_config(c.kv_events_config or {})
    except ValueError as error:
        return str(error)
    live, replay = config.endpoint, config.replay_endpoint or ""
    if replay and config.publisher not in {None, *PUBLISHERS}:
        return f"replay_endpoint asks for events of zmq, and {config.publisher} publishes them"
    return _wrong_endpoint(live, c) or _wrong_endpoint(replay, c) or _meeting(replay, live, c)


def _dataset_file(c: Configuration) -> str | None:
    return "needs dataset-path, where the download is kept" if c.dataset_url and not c.dataset_path else None


def _dataset_mode(c: Configuration) -> str | None:
    return "echo uses no dataset" if c.mode == "echo" and (c.dataset_path or c.dataset_url or c.datasets) else None


def _dataset_sum(c: Configuration) -> str | None:
    return None if not c.dataset_sha256 or is_sha256(c.dataset_sha256) else "is not 64 hexadecimal digits"


def _dataset_names(c: Configuration) -> str | None:
    own = [name for name in c.datasets or () if name in c.served_names]
    return f"{own[0]!r} and {own[1]!r} are names of one model" if len(own) > 1 else None


def _backend(c: Configuration) -> str | None:
    try:
        backend = parse_backend(c.kv_cache_backend)
    except ValueError as error:
        return str(error)
    return (
        "needs enable-kvcache, and prefix caching: nothing is shared without"
        if backend and not c.caches_prefixes
        else None
    )


def _tokenizer(c: Configuration) -> str | None:
    try:
        kind = kind_of_tokenizer(c.tokenizer) if c.tokenizer else "words"
    except ValueError as error:
        return str(error)
    address = urlsplit(c.render_url)
    if kind == "remote" and (address.scheme not in {"http", "https"} or not address.netloc):
        return f"remote goes to render-url, which is no address of http or https: {c.render_url!r}"
    return None


def _transfer(c: Configuration) -> str | None:
    try:
        read_transfer(c.kv_transfer_config)
    except ValueError as error:
        return str(error)
    return None


def _time_scale(c: Configuration) -> str | None:
    return (
        "a virtual clock has no scale, as no time passes by itself"
        if c.clock == "virtual" and c.time_scale != 1
        else None
    )


def _collector(c: Configuration) -> str | None:
    try:
        parse_collector(c.otlp_traces_endpoint)
    except ValueError as error:
        return str(error)
    return None


def _detailed_traces(c: Configuration) -> str | None:
    # vLLM takes several words, or one with commas.
    words = [word for each in c.collect_detailed_traces for word in each.split(",")]
    wrong = [word for word in words if word not in _DETAILED]
    if wrong:
        return f"{wrong[0]!r} is none of {', '.join(_DETAILED)}"
    return "needs otlp-traces-endpoint" if words and not c.otlp_traces_endpoint else None


def _fingerprint(c: Configuration) -> str | None:
    wrong = c.fingerprint_mode == "custom" and not c.fingerprint_value
    return "is needed for fingerprint-mode custom" if wrong else None


def _middleware(c: Configuration) -> str | None:
    return middleware_fault(c.middleware)


def _root_path(c: Configuration) -> str | None:
    return None if not c.root_path or c.root_path.startswith("/") else f"{c.root_path!r} does not begin with /"


RULES: Final[tuple[Rule, ...]] = (
    *map(
        _deviation,
        ("time-to-first-token", "inter-token-latency", "kv-cache-transfer-latency", "time-to-generate-image"),
    ),
    *map(_ordered, ("integer-param", "number-param", "array-param-length")),
    (("max-cpu-loras", "max-loras"), _cpu_loras),
    (("lora-modules", "model", "served-model-name"), _lora_bases),
    (("lora-modules", "model", "served-model-name"), _lora_names),
    (("kv-cache-size", *_CACHED), _blocks),
    (("num-gpu-blocks-override", *_CACHED), _blocks_override),
    (("plugin-options",), plugin_options_fault),
    (("kv-events-replay-endpoint", "kv-events-publisher"), _replay_of_plugin),
    _event_endpoint("zmq-endpoint"),
    _event_endpoint("kv-events-replay-endpoint"),
    (("kv-events-replay-endpoint", "zmq-endpoint", *RANKS), _event_ports),
    (("kv-events-config", *RANKS), _events_config),
    *RANK_RULES,
    (("admin-endpoint", "port", "listen", "uds", "data-parallel-supervisor-port", *RANKS, *BALANCING), admin_fault),
    *TLS_RULES,
    *STEP_RULES,
    (("dataset-url", "dataset-path"), _dataset_file),
    (("mode", "dataset-path", "dataset-url", "datasets"), _dataset_mode),
    (("dataset-sha256",), _dataset_sum),
    (("datasets", "model", "served-model-name"), _dataset_names),
    (("kv-cache-backend", *_CACHED), _backend),
    (("tokenizer", "render-url"), _tokenizer),
    (("fingerprint-value", "fingerprint-mode"), _fingerprint),
    (("kv-transfer-config",), _transfer),
    (("time-scale", "clock"), _time_scale),
    (("otlp-traces-endpoint",), _collector),
    (("collect-detailed-traces", "otlp-traces-endpoint"), _detailed_traces),
    (("middleware",), _middleware),
    (("root-path",), _root_path),
    (("model-preset", "model-shape", "model", *_STEP_TIME), model_fault),
    (("device-preset", "device-shape", *_STEP_TIME), device_fault),
    (("step-profile", *_STEP_TIME), profile_fault),
)


def broken(configuration: Configuration, doubtful: set[str | None]) -> Iterator[tuple[str, str]]:
    """Find the rules that a configuration breaks.

    :param doubtful: options whose values are wrong already; rules that look at them are left out.
    :return: the option to blame, and what is wrong with it.
    """
    for names, check in RULES:
        if not doubtful.intersection(names) and (fault := check(configuration)):
            yield names[0], fault
