# -*- test-case-name: tests.config.test_schema -*-
"""Where the server listens, what it serves, and its data-parallel ranks."""

from typing import Any

from attrs import frozen

from vllmsim.config.kinds import Duration, Flag, Integer, Json, List, Text
from vllmsim.config.option import option
from vllmsim.config.scenario.file import ScenarioFile, ScenarioPath


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class ServingOptions:
    """Where the server listens, what it serves, and its data-parallel ranks. Durations are seconds."""

    # fmt: off
    model: str = option("server", Text(required=True), "Qwen/Qwen3-0.6B",
        "Name of the simulated model; nothing is loaded from it.", environment="SIM_MODEL")
    served_model_name: tuple[str, ...] = option("server", List(), (),
        "Names that requests may use for the model, the first of which answers carry; the model's name if none.")
    host: str = option("server", Text(), "",
        "Address to listen on; all interfaces if empty.")
    port: int = option("server", Integer(least=1, most=65535), 8000,
        "Port of the first rank; every further rank listens on the next one.")
    uds: str = option("server", Text(), "",
        "Path of a unix socket to listen on instead of a port.")
    grpc: bool | None = option("server", Flag(), None,
        "Speak HTTP/2 on every port too, and gRPC with it; if not given, where vllmsim[grpc] is installed. vLLM's gRPC"
        " server takes the place of its HTTP server.")
    grpc_port: int | None = option("server", Integer(least=1, most=65535), None,
        "One more port where all of it is served; every further rank has the next one.")
    listen: str = option("server", Text(), "",
        "Twisted endpoint to listen on instead of host and port, with {port} and {rank} filled in for each rank.")
    root_path: str = option("server", Text(), "",
        "Path under which a proxy shows the server: requests may have it before their paths, and need not.")
    max_request_body_size_mb: int = option("server", Integer(least=1, most=512), 4,
        "Largest request body.", unit="MiB", live=True)
    max_json_depth: int = option("server", Integer(least=1, most=512), 128,
        "Most levels of lists and objects, one in another, of a request body.", live=True)
    max_json_items: int = option("server", Integer(least=1), 16_384,
        "Most items of a list, or members of an object, in a request body: messages, prompts, tools and the like. Lists"
        " of numbers do not count.", live=True)
    h11_max_incomplete_event_size: int = option("server", Integer(least=1), 4 * 1024 * 1024,
        "Largest request head, and largest line in it; beyond it the connection is closed.", unit="bytes")
    h11_max_header_count: int = option("server", Integer(least=1), 256,
        "Most headers of a request.")
    timeout_keep_alive: float = option("server", Duration(positive=True, unit="s"), 5.0,
        "How long a connection may be idle after a response.", unit="s", environment="VLLM_HTTP_TIMEOUT_KEEP_ALIVE")
    receive_timeout: float = option("server", Duration(unit="s"), 60.0,
        "How long a client may take to begin its first request, for a request's head and the first 16 KiB of its body,"
        " and for each further 16 KiB, before it is cut off; 0 for ever.", unit="s")
    send_timeout: float = option("server", Duration(unit="s"), 60.0,
        "How long a client may read nothing of what is written to it before it is cut off; 0 for ever.", unit="s")
    startup_duration: float = option("server", Duration(), 0.0,
        "How long /health/ready answers 503 after the start, as if the model were loading.", unit="ms")
    shutdown_timeout: float = option("server", Duration(unit="s"), 30.0,
        "How long requests may go on after SIGTERM before they are told that the server stops.", unit="s")
    enable_request_id_headers: bool = option("server", Flag(), False,
        "Send X-Request-Id with every response: the request's own, or a new one.", live=True)
    server_dev_mode: bool = option("server", Flag(), True,
        "Serve the routes that vLLM has for development: /pause, /sleep, /abort_requests, /server_info and others.",
        environment="VLLM_SERVER_DEV_MODE")
    enable_scale_out: bool = option("server", Flag(), True,
        "Open the routes for disaggregated serving; vLLM opens them only when asked to.")
    tokens_only: bool = option("server", Flag(), False,
        "Open them, and /abort_requests, whatever the two options above say.")
    enable_server_load_tracking: bool = option("server", Flag(), False,
        "Count requests that are not answered yet for /load, which says 0 otherwise.", live=True)
    profiler_config: Any = option("server", Json(anything=True), None,
        "Profiler in vLLM's form; with one the server has /start_profile and /stop_profile.")
    enable_tokenizer_info_endpoint: bool = option("server", Flag(), True,
        "Serve /tokenizer_info; vLLM does only when asked to.")
    config_watch: float = option("server", Duration(), 0.0,
        "How often to look whether the configuration file has changed, and read it again if so; 0 for never. SIGHUP has"
        " it read at any time.", unit="ms")
    disable_fastapi_docs: bool = option("server", Flag(), False,
        "Serve neither /openapi.json nor the pages /docs and /redoc that show it.")
    pod_name: str = option("server", Text(), "",
        "Name reported in x-inference-pod, together with x-inference-port.", environment="POD_NAME")
    pod_namespace: str = option("server", Text(), "",
        "Namespace reported in x-inference-namespace.", environment="POD_NAMESPACE")
    pod_ip: str = option("server", Text(), "",
        "Address that names this server in the topic of KV events, and where its KV blocks are fetched.",
        environment="POD_IP")
    enable_responses_store: bool = option("server", Flag(), False,
        "Keep responses of /v1/responses, so that clients can come back to them, and allow background ones.",
        environment="VLLM_ENABLE_RESPONSES_API_STORE")
    max_stored_responses: int = option("server", Integer(least=1), 1000,
        "Most responses that are kept; the least recently used go first, and sooner if all together are large.")
    scenario: ScenarioFile | None = option("server", ScenarioPath(), None,
        "Scenario that begins with the server: what happens to it in the course of time.")

    data_parallel_size: int = option("parallel", Integer(least=1, most=4096), 1,
        "Ranks, each with a port, a queue, slots and metrics of its own.", aliases=("-dp",))
    data_parallel_internal_lb: bool = option("parallel", Flag(), False,
        "Have one port for all ranks of this server, and send each request to the rank with the least to do: what vLLM"
        " does unless it is told otherwise.")
    data_parallel_hybrid_lb: bool = option("parallel", Flag(), False,
        "The same, for the ranks that data-parallel-size-local and data-parallel-start-rank leave to this server.",
        aliases=("-dph",))
    data_parallel_external_lb: bool = option("parallel", Flag(), False,
        "Be the one rank that data-parallel-rank names, among which something outside balances.", aliases=("-dpe",))
    data_parallel_rank: int = option("parallel", Integer(least=-1), -1,
        "Be this one rank of several servers; -1 for all ranks in this one.", aliases=("-dpn",))
    data_parallel_size_local: int | None = option("parallel", Integer(least=0), None,
        "How many of the ranks this server has; all from its first on if not given or 0.", aliases=("-dpl",))
    data_parallel_start_rank: int = option("parallel", Integer(least=0), 0,
        "The first of them, which has the first port.", aliases=("-dpr",))
    data_parallel_processes: bool = option("parallel", Flag(), False,
        "Give each rank a process of its own, start one that crashes again, and tell at the supervisor's port"
        " whether all are well.", aliases=("--data-parallel-multi-port-external-lb", "-dpm"))
    data_parallel_supervisor_port: int = option("parallel", Integer(least=1, most=65535), 9256,
        "Port where, with data-parallel-processes, /health, /ready and /readyz answer 200 while all ranks are well.")
    dp_supervisor_probe_interval_s: float = option("parallel", Duration(positive=True, unit="s"), 5.0,
        "Time between two looks at the /health of a rank.", unit="s")
    dp_supervisor_probe_timeout_s: float = option("parallel", Duration(positive=True, unit="s"), 5.0,
        "How long a rank may take to answer.", unit="s")
    dp_supervisor_probe_failure_threshold: int = option("parallel", Integer(least=1), 3,
        "How often in a row it may give no answer before it counts as not well.")
    # fmt: on
