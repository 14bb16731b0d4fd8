# -*- test-case-name: tests.integration.test_bench -*-
"""What a token and a call cost over gRPC, beside the same over HTTP/1.1 from the same server in the same minutes.

Over HTTP/1.1 each stream has a connection. Gateways that speak gRPC have one or a few, on which all streams are: what
becomes due together can be sent together, and so can what is asked.
"""

import contextlib
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from attrs import frozen

from bench import requests
from bench.load import Method, Window, run_closed
from bench.paced import ITL, Middle, Paced, run
from bench.plan import Plan, Result
from bench.servers import Server, vllmsim

GENERATE: Final = "/vllm.grpc.engine.VllmEngine/Generate"
HEALTH: Final = "/vllm.grpc.engine.VllmEngine/HealthCheck"
_HTTP: Final = "HTTP/1.1"
_ONE: Final = "gRPC, 1 connection"
_FEW: Final = 50
"""Connections of several gateways."""
_MAIN: Final = 500
_TOKENS: Final = 110
_PACED_ROUNDS: Final = 3
_BURST: Final = 256
"""Tokens of a stream whose tokens are all due at once."""
_ASKERS: Final = 64
_ROUNDS: Final = 3
_SECONDS: Final = 0.6
_WARM: Final = 0.3


def measure_paced(plan: Plan) -> Result:
    """Compare streams with a token every 20 ms."""
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    with _speaking(plan.cores.server, ITL * 1e3) as server:
        for streams in plan.streams or (_MAIN,):
            middles = _take_turns(plan, server, streams)
            base, one = middles[_HTTP], middles[_ONE]
            rows += [[str(streams), name, *_cells(middle, base)] for name, middle in middles.items()]
            if streams == _MAIN:
                figures = {"grpc-cpu": one.cpu / base.cpu, "grpc-lateness": one.p99 - base.p99}
    header = ("streams", "over", "us/token", "/ HTTP/1.1", "tokens/s", "p50 late", "p99 late", "latest", "client")
    return Result("A token every 20 ms over gRPC; lateness in milliseconds", header, rows, figures)


@contextlib.contextmanager
def _speaking(core: int | None, itl_ms: float = 0) -> Iterator[Server]:
    """Run a vllmsim that has learned to speak gRPC, which takes the first connection a moment."""
    with vllmsim(core, itl_ms) as server:
        run_closed(server.ports, server.pid, requests.NOTHING, connections=1, seconds=0, method=Method(HEALTH))
        yield server


def _take_turns(plan: Plan, server: Server, streams: int) -> dict[str, Middle]:
    """Run streams over each protocol in turn, round after round."""
    few = max(2, min(_FEW, streams // 10))
    methods = {_HTTP: None, _ONE: Method(GENERATE), f"gRPC, {few} connections": Method(GENERATE, few)}
    runs: dict[str, list[Paced]] = {name: [] for name in methods}
    for _ in range(plan.rounds or _PACED_ROUNDS):
        for name, method in methods.items():
            paced = run(server, streams, plan.tokens or _TOKENS, method)
            runs[name].append(paced)
            late = f"p99 {paced.lateness.p99:.2f} ms late"
            plan.say(f"{streams:9} {name:>20} {paced.window.cpu_per_token:6.1f} us/token, {late}")
    return {name: Middle.of(some) for name, some in runs.items()}


def _cells(middle: Middle, base: Middle) -> list[str]:
    late = [f"{middle.p50:.2f}", f"{middle.p99:.2f}", f"{middle.worst:.1f}"]
    return [f"{middle.cpu:.1f}", f"{middle.cpu / base.cpu:.2f}", f"{middle.rate:.0f}", *late, f"{middle.client:.0%}"]


@frozen
class _Kind:
    """A kind of exchange.

    :param over: what it is called in the table.
    :param request: what is sent.
    :param method: which one is called, where it is gRPC.
    :param tokens: of a stream; 0 if it is none.
    """

    over: str
    request: bytes
    method: Method | None = None
    tokens: int = 0

    def run(self, server: Server, askers: int, seconds: float) -> Window:
        """Keep askers busy."""
        return run_closed(
            *(server.ports, server.pid, self.request),
            connections=askers,
            seconds=seconds,
            tokens=self.tokens,
            warm=_WARM,
            method=self.method,
        )


def measure_bursts(plan: Plan) -> Result:
    """Compare streams whose tokens are all due at once."""
    tokens = plan.tokens or _BURST
    kinds = [
        _Kind(_HTTP, requests.chat(stream=True, max_tokens=tokens), None, tokens),
        _Kind(_ONE, requests.generate(stream=True, max_tokens=tokens), Method(GENERATE), tokens),
    ]
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    for askers in plan.streams or (_ASKERS,):
        windows = _compare(plan, kinds, askers)
        least = {name: min(window.cpu_per_token for window in some) for name, some in windows.items()}
        for name, some in windows.items():
            rate = median([window.tokens_per_second for window in some])
            client = median([window.client_share for window in some])
            ratio = f"{least[name] / least[_HTTP]:.2f}"
            rows.append([str(askers), name, f"{rate:.0f}", f"{least[name]:.2f}", ratio, f"{client:.0%}"])
        if askers == _ASKERS:
            figures = {"grpc-burst": least[_HTTP] / least[_ONE]}
    header = ("streams", "over", "tokens/s", "us/token", "/ HTTP/1.1", "client")
    return Result(f"Streams of {tokens} tokens over gRPC, all due at once", header, rows, figures)


def measure_calls(plan: Plan) -> Result:
    """Compare answers in one message with answers in one piece, and what asks for health with itself."""
    pairs = [
        (
            _Kind(f"POST of {requests.SHORT} tokens", requests.chat(stream=False, max_tokens=requests.SHORT)),
            _Kind(
                f"Generate of {requests.SHORT} tokens",
                requests.generate(stream=False, max_tokens=requests.SHORT),
                Method(GENERATE),
            ),
        ),
        (_Kind("GET /health", requests.get("/health")), _Kind("HealthCheck", requests.NOTHING, Method(HEALTH))),
    ]
    askers = (plan.streams or (_ASKERS,))[0]
    windows = _compare(plan, [kind for pair in pairs for kind in pair], askers)
    least = {name: min(window.cpu_per_answer for window in some) for name, some in windows.items()}
    rows: list[list[str]] = []
    for pair in pairs:
        for kind in pair:
            rate = median([window.answers_per_second for window in windows[kind.over]])
            client = median([window.client_share for window in windows[kind.over]])
            cost = least[kind.over]
            rows.append([kind.over, f"{rate:.0f}", f"{cost:.0f}", f"{cost / least[pair[0].over]:.2f}", f"{client:.0%}"])
    base, call = pairs[0]
    header = ("what", "answers/s", "us/answer", "/ HTTP/1.1", "client")
    figures = {"grpc-call": least[call.over] / least[base.over]}
    return Result(f"{askers} at once: calls on one connection, requests on one each", header, rows, figures)


def _compare(plan: Plan, kinds: Sequence[_Kind], askers: int) -> dict[str, list[Window]]:
    """Have kinds of exchanges take turns with one server."""
    windows: dict[str, list[Window]] = {kind.over: [] for kind in kinds}
    with _speaking(plan.cores.server) as server:
        for _ in range(plan.rounds or _ROUNDS):
            for kind in kinds:
                window = kind.run(server, askers, plan.seconds or _SECONDS)
                windows[kind.over].append(window)
                plan.say(f"{askers:9} {kind.over:>20} {window.answers_per_second:8.0f} answers a second")
    return windows
