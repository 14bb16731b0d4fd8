"""Every option that may change while the server runs, changed by an administrator, and what comes of it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen
from twisted.logger import LogEvent, Logger, capturedLogs

from tests.dropins import drop_in
from tests.harness import Exchange, RankTestCase
from vllmsim.config.schema import own_options
from vllmsim.logs.levels import LevelGate

HI = [{"role": "user", "content": "hello"}]
STEP = 0.001
CACHED = "--enable-kvcache --zmq-endpoint="
STEPS = "--scheduling-model step --zmq-endpoint="
UNCACHED = f"{STEPS} --step-time-constant 10ms --no-enable-prefix-caching"
PRESET = f"{STEPS} --model-preset llama-3.1-8b"
REMOTE = {"kv_transfer_params": {"do_remote_prefill": True}}


def tool(schema: Mapping[str, Any], *, required: bool = True, **fields: Any) -> dict[str, Any]:
    """Make a request that must call a tool with one parameter."""
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"] if required else []}
    return {
        "messages": HI,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
        "tool_choice": "required",
        **fields,
    }


INTEGER, NUMBER, ARRAY = tool({"type": "integer"}), tool({"type": "number"}), tool({"type": "array"})
FIELDS = tool({"type": "object", "properties": {"b": {"type": "integer"}}, "required": []})
OPTIONAL = tool({"type": "integer"}, required=False)


@frozen
class Proof:
    """What shows that an option has an effect.

    :param option: its name.
    :param value: what it is changed to.
    :param effect: what is looked at before and after.
    :param before: what is seen before.
    :param after: what is seen after.
    :param words: the command line.
    """

    option: str
    value: Any
    effect: "Effect"
    before: Any
    after: Any
    words: str = ""


TEAPOT = """
from vllmsim.errors import InjectedFailure

@implementer(IFailure)
class Teapot:
    active = True

    def __init__(self, surroundings):
        self.status = surroundings.options.get("status", 418)

    def consider(self):
        return lambda facts: Fault("teapot", InjectedFailure(self.status, "Teapot", "short and stout"))

teapot = offer(IFailureFactory, "teapot", Teapot)
"""


class LiveOptionTests(RankTestCase):
    """One after the other."""

    def setUp(self) -> None:
        """Put a plugin where plugins are."""
        drop_in(self, teapot=TEAPOT)

    def change(self, **values: Any) -> Exchange:
        """Change options as an administrator."""
        return self.post("/admin/config", {name.replace("_", "-"): value for name, value in values.items()})

    def answer(self, **fields: Any) -> Exchange:
        """Ask for a whole answer, and wait for it."""
        exchange = self.post("/v1/chat/completions", {"messages": HI, "max_tokens": 400, **fields})
        self.clock.pump([1] * 10)
        return exchange

    def arguments(self, request: Mapping[str, Any]) -> Any:
        """Read the arguments of the first call."""
        message = self.answer(**request).json()["choices"][0]["message"]
        return json.loads(message["tool_calls"][0]["function"]["arguments"])

    def test_all(self) -> None:
        """Every option that may change live is changed, and the next request is served accordingly."""
        self.assertEqual(
            {option.name for option in own_options() if option.live and option.acts}, {proof.option for proof in PROOFS}
        )
        for proof in PROOFS:
            with self.subTest(proof.option):
                self.make_rank(*proof.words.split())
                self.assertEqual(proof.before, proof.effect(self), f"{proof.option} before")
                changed = self.post("/admin/config", {proof.option: proof.value})
                self.assertEqual(200, changed.status, changed.body)
                self.assertEqual(proof.after, proof.effect(self), f"{proof.option} after")


Effect: TypeAlias = Callable[[LiveOptionTests], Any]


def pace(case: LiveOptionTests, **fields: Any) -> list[int]:
    """Stream four tokens, and tell when each came in milliseconds."""
    exchange = case.chat(stream=True, max_tokens=4, ignore_eos=True, **fields)
    times: list[int] = []
    # So that sums of steps do not fall beside what is due.
    case.clock.advance(STEP / 2)
    for now in range(1000):
        count = sum(
            bool(e != "[DONE]" and e["choices"] and e["choices"][0]["delta"].get("content")) for e in exchange.events()
        )
        times += [now] * (count - len(times))
        if exchange.complete:
            return times
        case.clock.advance(STEP)
    raise AssertionError("no end")


def first(**fields: Any) -> Effect:
    """Look at the time to the first token."""
    return lambda case: pace(case, **fields)[0]


def second(case: LiveOptionTests) -> int:
    """Look at the time between the first token and the second."""
    return pace(case)[1] - pace(case)[0]


def crowded(case: LiveOptionTests) -> int:
    """Look at the time to the first token while somebody else is served."""
    other = case.chat(max_tokens=1)
    time = pace(case)[0]
    case.clock.pump([1] * 10)
    assert other.complete
    return time


def of_long_prompt(case: LiveOptionTests) -> int:
    """Look at the time to the first token of a prompt of 40 words, while somebody else generates."""
    other = case.chat(max_tokens=400, ignore_eos=True)
    case.clock.advance(STEP * 10)
    time = pace(case, messages=[{"role": "user", "content": "word " * 40}])[0]
    case.clock.pump([STEP * 10] * 400)
    assert other.complete
    return time


def is_(effect: Effect, value: Any) -> Effect:
    """Look whether an effect is a certain one."""
    return lambda case: effect(case) == value


def whole(milliseconds: int) -> Effect:
    """Look whether the time to fetch a prompt is a multiple of some milliseconds."""
    return lambda case: pace(case, **REMOTE)[0] % milliseconds == 0


def member(*path: Any, **fields: Any) -> Effect:
    """Look at a member of a whole answer."""

    def look(case: LiveOptionTests) -> Any:
        value = case.answer(**fields).json()
        for name in path:
            value = value[name] if isinstance(name, int) else value.get(name)
        return value

    return look


def arguments(request: Mapping[str, Any], *, of: Callable[[Any], Any] = lambda value: value["a"]) -> Effect:
    """Look at the arguments with which a tool is called."""
    return lambda case: of(case.arguments(request))


def calls(case: LiveOptionTests) -> int:
    """Count the calls of an answer that must have one and may have three."""
    request = tool({"type": "integer"})
    request["tools"] = [
        {"type": "function", "function": {"name": f"f{n}", "parameters": {"type": "object", "properties": {}}}}
        for n in range(3)
    ]
    return len(case.answer(**request).json()["choices"][0]["message"]["tool_calls"])


def chunks(case: LiveOptionTests) -> int:
    """Count the chunks with text of a stream of nine tokens."""
    exchange = case.chat(stream=True, max_tokens=9, ignore_eos=True)
    return sum(
        bool(e != "[DONE]" and e["choices"] and e["choices"][0]["delta"].get("content")) for e in exchange.events()
    )


def usages(case: LiveOptionTests) -> bool:
    """Look whether the first chunk of a stream has usage."""
    return "usage" in case.chat(stream=True, max_tokens=2).events()[0]


def token_shown(case: LiveOptionTests) -> bool:
    """Look whether tokens are shown by their ids."""
    shown = case.answer(logprobs=True).json()["choices"][0]["logprobs"]["content"][0]["token"]
    return str(shown).startswith("token_id:")


def status(**fields: Any) -> Effect:
    """Look at the status of an answer."""
    return lambda case: case.answer(**fields).status


def asked_for_error(case: LiveOptionTests) -> int:
    """Look at the status of an answer to a request that asks for an error."""
    return case.post("/v1/chat/completions", {"messages": HI}, X_Return_Error="422").status


def prompts(case: LiveOptionTests) -> int:
    """Look at the status of an answer to three prompts."""
    return case.post("/v1/completions", {"prompt": ["a", "b", "c"]}).status


def waving(case: LiveOptionTests) -> float:
    """Look at the metric of sequences that run after a while."""
    case.clock.advance(3)
    return running(case)


def load(case: LiveOptionTests) -> int:
    """Look at the load while a request is served."""
    exchange = case.chat(max_tokens=1)
    told = int(case.get("/load").json()["server_load"])
    case.clock.pump([1] * 10)
    assert exchange.complete
    return told


def dimensions(case: LiveOptionTests) -> int:
    """Look at how many numbers an embedding has."""
    return len(case.post("/v1/embeddings", {"input": "x"}).json()["data"][0]["embedding"])


def image(case: LiveOptionTests) -> bool:
    """Look whether an answer has an image."""
    return "image" in case.answer().body.decode()


def image_time(case: LiveOptionTests) -> int:
    """Look at the time that an image adds, in milliseconds."""
    times = pace(case)
    return times[-1] - times[0]


def running(case: LiveOptionTests) -> float:
    """Look at the metric of sequences that run."""
    return case.sample('vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-0.6B"}')


def remembered(case: LiveOptionTests) -> int:
    """Send three requests and count those that are remembered."""
    for _ in range(3):
        case.answer()
    return len(case.get("/admin/requests").json()["requests"])


def body_remembered(case: LiveOptionTests) -> bool:
    """Look whether the body of a request is remembered."""
    case.answer()
    return case.get("/admin/requests?bodies=1&order=desc&limit=1").json()["requests"][0]["body"] is not None


def together(*models: str) -> Effect:
    """Ask for answers at the same time, and count those that come as soon as any."""

    def look(case: LiveOptionTests) -> int:
        asked = [case.chat(model=model, max_tokens=1) for model in models]
        case.clock.pump([0, 0.1])
        count = sum(each.complete for each in asked)
        case.clock.pump([0.1] * 10)
        assert all(each.complete for each in asked)
        return count

    return look


def refused(case: LiveOptionTests) -> list[int]:
    """Ask for three answers at the same time, and list how they are refused."""
    asked = [case.chat(max_tokens=1) for _ in range(3)]
    case.clock.pump([0.1, 0] * 10)
    return [each.status for each in asked if each.status != 200]


def in_turns(case: LiveOptionTests) -> int:
    """Look at the time to the first token of an adapter, after another has been used."""
    pace(case, model="a")
    pace(case, model="b")
    return pace(case, model="a")[0]


def loaded_from_nowhere(case: LiveOptionTests) -> int:
    """Look how it is answered that an adapter is to be loaded which is not there."""
    return case.post("/v1/load_lora_adapter", {"lora_name": "c", "lora_path": "/nowhere", "load_inplace": True}).status


def said_to_wait(case: LiveOptionTests) -> str:
    """Look which adapters are said to wait while one runs."""
    asked = case.chat(model="a", max_tokens=1)
    case.clock.advance(0)
    lines = [line for line in case.get("/metrics").body.decode().splitlines() if "lora_requests_info{" in line]
    case.clock.pump([0.1, 0])
    assert asked.complete
    latest = max(lines, key=lambda line: float(line.rpartition(" ")[2]))
    return latest.partition('waiting_lora_adapters="')[2].partition('"')[0]


def preflight(name: str, **headers: str) -> Effect:
    """Look at a header of the answer to a preflight."""
    asked = {"Origin": "http://page.test", "Access_Control_Request_Method": "POST"} | headers
    return lambda case: case.connect().send("OPTIONS", "/v1/models", None, **asked).headers.get(name)


def debugged(case: LiveOptionTests) -> bool:
    """Look whether details are logged."""
    seen: list[LogEvent] = []
    observer: Any = seen.append
    Logger("vllmsim.web.site", observer=LevelGate(observer, case.lives.values())).debug("a detail")
    return bool(seen)


def with_key(case: LiveOptionTests) -> int:
    """Look whether somebody with a key may come."""
    return case.get("/v1/models", Authorization="Bearer k").status


def limited(name: str) -> Effect:
    """Look at what an answer says of a limit."""
    return lambda case: case.answer().headers.get(f"x-ratelimit-limit-{name}")


def logged(path: str = "/health") -> Effect:
    """Count the lines of the access log for a request."""

    def look(case: LiveOptionTests) -> int:
        with capturedLogs() as events:
            case.get(path)
        return len([event for event in events if event["log_namespace"].endswith("AccessLog")])

    return look


def logged_exchanges(case: LiveOptionTests) -> int:
    """Count the entries of one exchange."""
    with capturedLogs() as events:
        case.get("/version")
    return sum("HTTP" in event.get("summary", "") for event in events)


LORAS = "--lora-modules a=/a b=/b"
SLOW = "--time-to-first-token 100ms"
NO_TOOL = tool({"type": "nonsense"}) | {"tool_choice": "none"}
PROOFS = (
    Proof("log-http", True, logged_exchanges, 0, 2),
    Proof("log-level", "info,vllmsim.web=debug", debugged, False, True),
    Proof("time-to-first-token", "50ms", first(), 0, 50),
    Proof("time-to-first-token-std-dev", "30ms", is_(first(), 100), True, False, "--time-to-first-token 100ms"),
    Proof("inter-token-latency", 20, second, 0, 20),
    Proof("inter-token-latency-std-dev", 30, is_(second, 100), True, False, "--inter-token-latency 100ms"),
    Proof("prefill-overhead", 30, first(), 0, 30),
    Proof("prefill-time-per-token", 30, is_(first(), 0), True, False),
    Proof("prefill-time-std-dev", 30, is_(first(), 100), True, False, "--prefill-overhead 100ms"),
    Proof("kv-cache-transfer-latency", 30, first(**REMOTE), 0, 30, CACHED),
    Proof(
        "kv-cache-transfer-latency-std-dev", 30, is_(first(**REMOTE), 100), True, False,
        f"--kv-cache-transfer-latency 100ms {CACHED}",
    ),
    Proof("kv-cache-transfer-time-per-token", 30, is_(first(**REMOTE), 0), True, False, CACHED),
    Proof(
        "kv-cache-transfer-time-std-dev", 30, whole(40), True, False,
        f"--kv-cache-transfer-time-per-token 40ms {CACHED}",
    ),
    Proof("time-factor-under-load", 3, crowded, 100, 300, "--time-to-first-token 100ms --max-num-seqs 2"),
    Proof("latency-calculator", "per-token", first(), 50, 20, "--time-to-first-token 50ms --prefill-overhead 20ms"),
    Proof("max-num-batched-tokens", 16, of_long_prompt, 20, 40, UNCACHED),
    Proof("max-num-scheduled-tokens", 16, of_long_prompt, 20, 40, UNCACHED),
    Proof("long-prefill-token-threshold", 16, of_long_prompt, 20, 40, UNCACHED),
    Proof("step-time", "linear", second, 7, 0, PRESET),
    Proof("step-time-constant", "3ms", second, 0, 3, STEPS),
    Proof("step-time-per-prefill-token", "30ms", is_(first(), 0), True, False, STEPS),
    Proof("step-time-per-decode-sequence", "3ms", second, 0, 3, STEPS),
    Proof("step-time-per-cached-token", "3ms", is_(second, 0), True, False, STEPS),
    Proof("step-time-jitter", 30, is_(second, 100), True, False, f"{STEPS} --step-time-constant 100ms"),
    Proof("step-profile", [{"decodes": 1, "time": "3ms"}], second, 0, 3, STEPS),
    Proof("model-preset", "qwen3-32b", second, 7, 26, PRESET),
    Proof("model-shape", {"weight-bytes": 1}, second, 7, 4, PRESET),
    Proof("device-preset", "l4", second, 7, 68, PRESET),
    Proof("device-shape", {"bandwidth": 335}, second, 7, 61, PRESET),
    Proof("roofline-flops-efficiency", 0.01, is_(first(), 7), True, False, PRESET),
    Proof("roofline-bandwidth-efficiency", 0.1, second, 7, 49, PRESET),
    Proof("roofline-overhead", "10ms", second, 7, 16, PRESET),
    Proof("roofline-exchange", "1ms", second, 4, 68, f"{PRESET} -tp 2"),
    Proof("failure-injection-rate", 100, status(), 200, 503, "--failure-types server_error"),
    Proof("failure-types", ["invalid_api_key"], status(), 503, 401,
          "--failure-injection-rate 100 --failure-types server_error"),
    Proof("failure-rules", [{"status": 418}], status(), 200, 418),
    Proof("failure-plugins", ["teapot"], status(), 200, 418),
    Proof("plugin-options", {"teapot": {"status": 422}}, status(), 418, 422, "--failure-plugins teapot"),
    Proof("return-error-header", False, asked_for_error, 422, 200),
    Proof("image-emission-rate", 100, image, False, True, "--omni"),
    Proof("time-to-generate-image", 70, image_time, 0, 70, "--omni --image-emission-rate 100"),
    Proof(
        "time-to-generate-image-std-dev", 30, is_(image_time, 100), True, False,
        "--omni --image-emission-rate 100 --time-to-generate-image 100ms",
    ),
    Proof(
        "fake-metrics", {"running-requests": 6}, running, 5.0, 6.0, '--fake-metrics {"running-requests":5}'
    ),
    Proof("default-embedding-dimensions", 5, dimensions, 384, 5),
    Proof(
        "fake-metrics-refresh-interval", "10s", is_(waving, 1.0), False, True,
        '--fake-metrics {"running-requests":"ramp:1:101:10s"}',
    ),
    Proof("max-request-body-size-mb", 1, status(messages=[{"role": "user", "content": "x" * (1 << 20)}]), 200, 413),
    Proof("max-json-depth", 3, status(metadata={"a": [{}]}), 200, 400),
    Proof("max-json-items", 2, status(messages=HI * 3), 200, 400),
    Proof("max-completion-prompts", 2, prompts, 200, 400),
    Proof("max-answer-tokens", 9, status(n=3, max_tokens=9, ignore_eos=True), 200, 400),
    Proof("enable-request-id-headers", True, lambda case: "x-request-id" in case.answer().headers, False, True),
    Proof("enable-server-load-tracking", True, load, 0, 1, f"--max-num-seqs 1 {SLOW}"),
    Proof("stream-interval", 4, chunks, 9, 3),
    Proof("response-role", "bard", member("choices", 0, "message", "role"), "assistant", "bard"),
    Proof("return-tokens-as-token-ids", True, token_shown, False, True),
    Proof(
        "enable-prompt-tokens-details", True, is_(member("usage", "prompt_tokens_details"), None), True, False,
        CACHED,
    ),
    Proof("enable-force-include-usage", True, usages, False, True),
    Proof("fingerprint-mode", "none", is_(member("system_fingerprint"), None), False, True),
    Proof(
        "fingerprint-value", "b", member("system_fingerprint"), "a", "b",
        "--fingerprint-mode custom --fingerprint-value a",
    ),
    Proof(
        "reasoning-share", 0, is_(member("choices", 0, "message", "reasoning"), None), False, True,
        "--reasoning-parser deepseek_r1",
    ),
    Proof("max-tool-call-integer-param", 7, is_(arguments(INTEGER), 7), False, True, "--min-tool-call-integer-param 7"),
    Proof("min-tool-call-integer-param", 100, is_(arguments(INTEGER), 100), False, True),
    Proof("max-tool-call-number-param", 7, is_(arguments(NUMBER), 7), False, True, "--min-tool-call-number-param 7"),
    Proof("min-tool-call-number-param", 100, is_(arguments(NUMBER), 100), False, True),
    Proof(
        "max-tool-call-array-param-length", 3, arguments(ARRAY, of=lambda a: len(a["a"]) <= 3), False, True,
        "--max-tool-call-array-param-length 99 --min-tool-call-array-param-length 3",
    ),
    Proof("min-tool-call-array-param-length", 5, arguments(ARRAY, of=lambda a: len(a["a"]) == 5), False, True),
    Proof(
        "tool-call-not-required-param-probability", 100, arguments(OPTIONAL, of=lambda a: "a" in a), False, True,
        "--tool-call-not-required-param-probability 0",
    ),
    Proof(
        "object-tool-call-not-required-field-probability", 100, arguments(FIELDS, of=lambda a: "b" in a["a"]), False,
        True,
        "--object-tool-call-not-required-field-probability 0",
    ),
    Proof("tool-call-extra-call-probability", 100, calls, 1, 3, "--tool-call-extra-call-probability 0"),
    Proof("enable-auto-tool-choice", False, status(**INTEGER | {"tool_choice": "auto"}), 200, 400),
    Proof("skip-tool-validation", True, status(**NO_TOOL), 400, 200),
    Proof(
        "global-cache-hit-threshold", 1, member("choices", 0, "finish_reason", messages=HI * 30), "stop",
        "cache_threshold",
        CACHED,
    ),
    Proof("max-num-seqs", 2, together(*[""] * 3), 1, 2, f"--max-num-seqs 1 {SLOW}"),
    Proof("max-waiting-queue-length", 1, refused, [], [429], f"--max-num-seqs 1 {SLOW}"),
    Proof("max-num-queued-reqs", 1, refused, [], [503, 503], SLOW),
    Proof("max-num-queued-tokens", 1, refused, [], [503, 503], SLOW),
    Proof("max-loras", 2, together("a", "b"), 1, 2, f"{LORAS} {SLOW}"),
    Proof("max-cpu-loras", 2, in_turns, 50, 0, f"{LORAS} --lora-load-time 50ms"),
    Proof("lora-load-time", "30ms", in_turns, 0, 30, LORAS),
    Proof("lora-verify-paths", True, loaded_from_nowhere, 200, 404),
    Proof("lora-info-exact", True, said_to_wait, "a", "", f"{LORAS} {SLOW}"),
    Proof("allowed-origins", ["http://page.test"], preflight("access-control-allow-origin"), None, "http://page.test"),
    Proof("allowed-methods", ["GET"], is_(preflight("access-control-allow-methods"), "GET"), False, True),
    Proof(
        "allowed-headers", [], is_(preflight("access-control-allow-headers"), None), True, False,
    ),
    Proof("allow-credentials", True, preflight("access-control-allow-credentials"), None, "true"),
    Proof("api-key", ["other"], with_key, 200, 401, "--api-key k"),
    Proof("api-key-file", str(Path(__file__).with_name("api-keys.txt")), with_key, 200, 401),
    Proof("tenants", {"a": {"keys": ["other"]}}, with_key, 200, 401, '--tenants {"a":{"keys":["k"]}}'),
    Proof("rate-limit", {"tokens-per-minute": 10_000}, limited("tokens"), None, "10000"),
    Proof("middleware", [{"name": "api-key", "enabled": False}], with_key, 401, 200, "--api-key other"),
    Proof("access-log", True, logged(), 0, 1),
    Proof("disable-uvicorn-access-log", True, logged(), 1, 0, "--access-log"),
    Proof("disable-access-log-for-endpoints", "/a,/health", logged(), 1, 0, "--access-log"),
    Proof("journal-size", 2, remembered, 3, 2),
    Proof("journal-body-bytes", 0, body_remembered, True, False),
)  # fmt: skip
