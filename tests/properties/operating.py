"""What operators do: they pause, load adapters, abort, change options, play scenarios, and look on."""

import json
from typing import Any, Final
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.properties.asked import Asked
from tests.properties.machine import RankMachine
from vllmsim.api.controlservice.messages import CONTROL
from vllmsim.api.frames import frame

_TRUTHS: Final = ("false", "true")
_CONTROLS: Final = (
    "/resume",
    "/wake_up",
    "/wake_up?tags=weights",
    "/wake_up?tags=kv_cache",
    *(f"/pause?mode={mode}&clear_cache={clear}" for mode in ("abort", "wait", "keep") for clear in _TRUTHS),
    *(f"/sleep?level={level}&mode={mode}" for mode in ("abort", "wait", "keep") for level in (0, 1, 2)),
    *(f"/reset_prefix_cache?reset_running_requests={running}" for running in _TRUTHS),
    "/reset_mm_cache",
)
_NAMES: Final = st.sampled_from(("a", "b", "c"))
_PATHS: Final = st.sampled_from(("/x", "/y"))
_DURATIONS: Final = st.sampled_from(("0", "300ms", "2s"))
_RULES: Final = st.sampled_from(
    (
        [],
        [{"every": 2, "status": 503}],
        [{"first": 2, "type": "rate_limit", "retry-after": 1, "delay": "300ms"}],
        [{"stream": True, "cut": 1}],
        [{"truncate": {"tokens": 1, "then": "end"}}],
        [{"malformed": 1}],
        [{"done": "missing"}, {"done": "twice"}],
        [{"reset": True, "every": 2}],
        [{"first-token": "1s", "stall": {"tokens": 1, "for": "2s"}}],
        [{"header": {"X-Team": "red"}, "stall": 1}],
        [{"adapter": "*", "cut": 2, "times": 1}],
    )
)
_OPTIONS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "time-to-first-token": _DURATIONS,
    "inter-token-latency": _DURATIONS,
    "prefill-time-per-token": _DURATIONS,
    "time-factor-under-load": st.sampled_from((1, 3)),
    "lora-load-time": _DURATIONS,
    "max-num-seqs": st.integers(1, 5),
    "max-waiting-queue-length": st.sampled_from((0, 2, 1000)),
    "max-num-queued-reqs": st.sampled_from((None, 1, 4)),
    "max-num-queued-tokens": st.sampled_from((None, 20)),
    "max-loras": st.integers(1, 3),
    "max-cpu-loras": st.sampled_from((None, 0, 1, 4)),
    "lora-info-exact": st.booleans(),
    "failure-rules": _RULES,
    "failure-injection-rate": st.sampled_from((0, 0, 50)),
    "global-cache-hit-threshold": st.sampled_from((0, 0.4)),
    "stream-interval": st.integers(1, 3),
    "journal-size": st.sampled_from((1000, 2, 0)),
    "journal-body-bytes": st.sampled_from((4096, 0)),
    "enable-request-id-headers": st.booleans(),
    "enable-prompt-tokens-details": st.booleans(),
    "enable-force-include-usage": st.booleans(),
    "rate-limit": st.sampled_from((None, {"requests-per-minute": 10}, {"tokens-per-minute": 100, "burst": "10s"})),
    "tenants": st.sampled_from(([], [{"name": "t", "keys": ["key-1"], "requests-per-minute": 3}])),
    "middleware": st.sampled_from(([], [{"name": "rate-limit", "enabled": False}])),
    "access-log": st.booleans(),
    "fake-metrics": st.sampled_from((None, {"running-requests": 3}, {"waiting-requests": "oscillate:1:5:2s"})),
    "nonsense": st.just(1),
}
_STEP: Final = st.fixed_dictionaries(
    {},
    optional={
        "set": st.fixed_dictionaries(
            {},
            optional={
                name: _OPTIONS[name] for name in ("time-to-first-token", "max-num-seqs", "max-loras", "failure-rules")
            },
        ),
        "kv-pressure": st.sampled_from((0, 0.3, 0.6, 1)),
        "load-adapter": st.builds(lambda name, path: {"name": name, "path": path}, _NAMES, _PATHS),
        "unload-adapter": _NAMES,
        "ready": st.booleans(),
        "healthy": st.booleans(),
        "reset-prefix-cache": st.just(value=True),
        "abort": st.just(value=True),
        "pause": st.sampled_from(("abort", "wait", "keep")),
        "sleep": st.integers(0, 2),
    },
)
_LOOKS: Final = (
    "/metrics",
    "/load",
    "/health/ready",
    "/v1/models",
    "/admin/requests",
    "/admin/requests?outcome=injected&limit=1&bodies=true",
    "/admin/requests/1",
    "/admin/config",
    "/admin/config/history",
    "/admin/scenario",
    "/admin/failures",
    "/server_info",
    "/is_sleeping",
)


class OperatorRules(RankMachine):
    """What operators do."""

    @rule(path=st.sampled_from(_CONTROLS))
    def control(self, path: str) -> None:
        """The rank pauses, sleeps, goes on, or forgets."""
        self.operate("POST", path)

    @rule(again=st.sampled_from(("/resume", "/wake_up")))
    def go_on(self, again: str) -> None:
        """It goes on, more often than not."""
        self.operate("POST", again)

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        """A request is ended, or all are."""
        ids = [record.answer_id for record in self.records() if record.answer_id and record.outcome is None]
        named = data.draw(st.sampled_from([None, "twin", *ids]))
        self.operate("POST", "/abort_requests", {} if named is None else {"request_ids": [named]})

    @rule(method=st.sampled_from(("Abort", "PauseGeneration", "ResumeGeneration", "Sleep", "WakeUp", "ListLoras")))
    def call(self, method: str) -> None:
        """The same is done over gRPC."""
        body = frame(CONTROL.message(f"{method}Request")().SerializeToString())
        headers = {"content-type": "application/grpc", "te": "trailers"}
        self.ask(self.connect_http2(), Asked(0, "other", "POST", f"/vllm.Control/{method}", body, headers))

    @rule(name=_NAMES, path=_PATHS, how=st.sampled_from(("load", "replace", "unload")))
    def adapt(self, name: str, path: str, how: str) -> None:
        """An adapter comes, perhaps in the place of another, or goes; requests that were let in go on."""
        if how == "unload":
            self.operate("POST", "/v1/unload_lora_adapter", {"lora_name": name})
            return
        body = {"lora_name": name, "lora_path": path, "load_inplace": how == "replace"}
        self.operate("POST", "/v1/load_lora_adapter", body)

    @rule(
        changes=st.lists(
            st.sampled_from(sorted(_OPTIONS)).flatmap(lambda name: st.tuples(st.just(name), _OPTIONS[name])),
            min_size=1, max_size=2,
        ),
        rank=st.sampled_from(("", "", "?rank=1")),
    )  # fmt: skip
    def change(self, changes: list[tuple[str, Any]], rank: str) -> None:
        """Options change, or what they were before comes back."""
        self.operate("POST", "/admin/config" + rank, dict(changes))

    @rule()
    def undo(self) -> None:
        """The latest change is taken back."""
        self.operate("POST", "/admin/config/undo")

    @rule(steps=st.lists(_STEP, min_size=1, max_size=3), keep=st.booleans(), replace=st.sampled_from(_TRUTHS))
    def play(self, steps: list[dict[str, Any]], keep: bool, replace: str) -> None:
        """A scenario begins."""
        timed = [{"at": f"{number * 700}ms", **step} for number, step in enumerate(steps)]
        value = {"name": "x", "steps": timed, "duration": "5s", "keep": keep}
        self.operate("POST", f"/admin/scenario?replace={replace}", value)

    @rule()
    def stop_playing(self) -> None:
        """It is stopped."""
        self.operate("DELETE", "/admin/scenario")

    @rule(path=st.sampled_from(_LOOKS))
    def look(self, path: str) -> None:
        """Somebody looks on, or waits for something to be seen."""
        self.operate("GET", path)

    @rule(data=st.data(), how=st.sampled_from(("", "?stream=true", "/cancel")))
    def come_back(self, data: st.DataObject, how: str) -> None:
        """Somebody asks for a response that was made, or is, or has it made no more."""
        ids = [record.answer_id for record in self.records() if record.answer_id.startswith("resp_")]
        named = quote(data.draw(st.sampled_from(["resp_nix", *ids])))
        self.operate("POST" if how == "/cancel" else "GET", f"/v1/responses/{named}{how}")

    @rule()
    def read_the_journal(self) -> None:
        """Whoever reads the journal is told what there is, and sees as many sequences as there are."""
        asked = self.operate("GET", "/admin/requests?limit=1")
        if asked.complete:
            told, records = json.loads(asked.answer), self.ranks[0].journal.records()
            sequences = {
                "waiting": sum(each.waiting for each in records),
                "running": sum(each.running for each in records),
            }
            counted = {name: sum(of_model[name] for of_model in told["sequences"].values()) for name in sequences}
            assert (told["total"], counted) == (len(records), sequences), told

    @rule(count=st.sampled_from((50, 2)), seconds=st.sampled_from((600, 3)))
    def wait_for_requests(self, count: int, seconds: int) -> None:
        """Somebody waits for requests to end."""
        self.operate("GET", f"/admin/requests?wait_for={count}&timeout={seconds}")

    @rule()
    def read_the_load(self) -> None:
        """Whoever asks how much there is to do is told how many requests are not answered."""
        asked = self.operate("GET", "/load")
        shown = self.ranks if self.setting.balances else self.ranks[:1]
        if asked.complete:
            assert json.loads(asked.answer) == {"server_load": sum(len(rank.simulator.requests) for rank in shown)}

    @rule()
    def forget(self) -> None:
        """The journal forgets."""
        self.operate("DELETE", "/admin/requests")
