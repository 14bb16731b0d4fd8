"""What the dashboard and the rules find in a Prometheus that watches a server at work."""

import json
import math
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final
from unittest import skipUnless

import yaml

from tests.dataset.making import fill, row_of
from tests.integration.daemon import PATIENCE, Daemon, DaemonTestCase, free_port
from tests.integration.prometheus import Prometheus
from tests.integration.test_shared_cache import SERVER, RedisServer
from tests.monitoring.asking import FILES, RULES, Question, dashboard, named, ruled, samples, shown

NEEDED: Final = ("prometheus", "prometheus-blackbox-exporter")
INTERVAL, WINDOW = "250ms", "2s"
"""How often is scraped, and over what time rates are."""
SECONDS: Final = 4.0
"""How long there is load."""
STILL: Final = {
    "vllm:estimated_flops_per_gpu", "vllm:estimated_read_bytes_per_gpu", "vllm:estimated_write_bytes_per_gpu",
    "vllm:nixl_post_time_seconds", "vllm:nixl_num_failed_transfers", "vllm:nixl_num_failed_notifications",
    "vllm:nixl_num_kv_expired_reqs", "vllm:nixl_num_notifications_after_expiry",
    # Collections are rare.
    "python_gc_collections", "python_gc_objects_collected", "python_gc_objects_uncollectable",
    # It falls asleep faster than anyone can look.
    "vllm:sleep_mode_operations_in_flight",
    # Nothing goes wrong with what the server leans on.
    "vllmsim:kv_events_dropped", "vllmsim:dataset_fallbacks", "vllmsim:kv_backend_errors",
    "vllmsim:kv_backend_dropped_blocks", "vllmsim:pacer_restarts",
}  # fmt: skip
"""Families that a simulator, or this load, never moves: what is asked of them is 0. Anything else that is 0 all the
time is asked for wrongly, or not loaded."""
NEVER: Final = {"model:vllm_request_success:error_ratio5m"}
"""What is recorded of such: no sequence ends with an error."""
IMAGE: Final = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
TOOL: Final = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def ask(
    daemon: Daemon, path: str, body: Any = None, *, kind: str = "application/json", method: str = "POST", **headers: str
) -> int:
    """Send something, and read the answer to its end.

    :return: its status.
    """
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    request = urllib.request.Request(daemon.url(path), data, {"Content-Type": kind, **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def work(daemon: Daemon, end: float, number: int) -> set[int]:
    """Send requests of many kinds, one after the other, until a time.

    :return: the statuses of the answers.
    """
    chat, plain = "/v1/chat/completions", "/v1/completions"
    fetched = {"do_remote_prefill": True, "do_remote_decode": False, "remote_num_tokens": 40}
    statuses = set()
    while time.time() < end:
        number += 1
        # All talk of one thing for a while, and then of another: so blocks are used again, and then not.
        words = " ".join(map(str, range(round(time.time() * 2) % 7, 40)))
        said = [{"role": "user", "content": words}]
        kinds: list[tuple[str, dict[str, Any], dict[str, str]]] = [
            (chat, {"messages": said, "stream": True, "max_tokens": 12, "n": 2}, {}),
            (chat, {"messages": said, "tools": [TOOL], "max_tokens": 8}, {}),
            (chat, {"messages": [{"role": "user", "content": [IMAGE, {"type": "text", "text": "What?"}]}]}, {}),
            (plain, {"model": "poet", "prompt": words, "max_tokens": 8}, {}),
            (plain, {"model": "painter", "prompt": words, "max_tokens": 8, "stream": True}, {}),
            (plain, {"prompt": f"{number} {time.time()} " + words, "kv_transfer_params": fetched}, {}),
            (plain, {"prompt": "hello"}, {}),
            (plain, {"prompt": "hello"}, {"X-Fail": "yes"}),
            (plain, {"prompt": 5}, {}),
        ]
        path, body, headers = kinds[number % len(kinds)]
        statuses.add(ask(daemon, path, body, **headers))
    return statuses


def example() -> dict[str, Any]:
    """Read the example of a configuration for Prometheus."""
    return dict(yaml.safe_load(RULES.joinpath("prometheus.yml").read_text("utf-8")))


def hastened(folder: str) -> Iterable[Path]:
    """Write the rules again, with what lasts minutes done in a second or two."""
    for file in FILES:
        path = Path(folder, file.name)
        text = re.sub(r"\[\d+m\]", f"[{WINDOW}]", file.read_text("utf-8"))
        path.write_text(re.sub(r"for: \d+m", "for: 1s", text))
        yield path


@skipUnless(SERVER and all(map(shutil.which, NEEDED)), f"needs {', '.join(NEEDED)} and redis-server")
class MonitoringTests(DaemonTestCase):
    """One Prometheus with all our rules, a server with two ranks that is under load, and one that only looks so."""

    faked: ClassVar[Daemon]
    prometheus: ClassVar[Prometheus]
    began: ClassVar[float]
    ended: ClassVar[float]

    @classmethod
    def setUpClass(cls) -> None:
        """Start all, and have the load behind us."""
        folder = cls.enterClassContext(TemporaryDirectory())
        redis = RedisServer()
        cls.addClassCleanup(redis.stop)
        fill(Path(folder, "talk.sqlite3"), [row_of("hello", "I ", "am ", "fine.")])
        rules = [{"name": "flaky", "header": "X-Fail", "status": 503}]
        cls.faked = Daemon("m", "--fake-metrics", json.dumps({"running-requests": 0, "waiting-requests": 0}))
        cls.addClassCleanup(cls.faked.log.close)
        cls.addClassCleanup(cls.faked.stop)
        cls.words = (
            "m", "--data-parallel-size", "2", "--data-parallel-internal-lb", "--max-num-seqs", "3",
            "--max-num-queued-reqs", "9", "--scheduling-model", "step", "--step-time-constant", "10ms",
            "--step-time-per-prefill-token", "1ms", "--max-model-len", "144", "--kv-cache-size", "10",
            "--speculative-config", '{"method": "ngram", "num_speculative_tokens": 2}',
            "--kv-cache-metrics", "--kv-cache-metrics-sample", "1",
            "--kv-cache-backend", f"redis://127.0.0.1:{redis.port}", "--kv-cache-transfer-time-per-token", "5ms",
            "--kv-transfer-config", '{"kv_connector": "NixlConnector", "kv_role": "kv_both"}',
            "--zmq-endpoint", f"tcp://127.0.0.1:{free_port(2)}", "--kv-bytes-per-token", "1000",
            "--lora-modules", "poet=/poet", "painter=/painter", "--max-loras", "1", "--lora-load-time", "50ms",
            "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--enable-sleep-mode",
            "--dataset-path", f"{folder}/talk.sqlite3", "--failure-rules", json.dumps(rules),
        )  # fmt: skip
        super().setUpClass()
        cls.faked.wait()
        cls.prometheus = Prometheus(
            folder, INTERVAL, cls.daemon.port, cls.faked.port, rules=list(hastened(folder)), jobs=[cls._probes(folder)]
        )
        cls.addClassCleanup(cls.prometheus.stop)
        cls.prometheus.wait_for("sum(up)", "4")
        cls._load()

    @classmethod
    def _probes(cls, folder: str) -> dict[str, Any]:
        """Have somebody ask whether the servers are ready, as the example for Prometheus does."""
        config, port = Path(folder, "blackbox.yml"), free_port()
        config.write_text(json.dumps({"modules": {"http_2xx": {"prober": "http"}}}))
        exporter = subprocess.Popen(
            [NEEDED[1], f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
             "--timeout-offset=0.05"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        cls.addClassCleanup(exporter.wait)
        cls.addClassCleanup(exporter.kill)
        [job] = [each for each in example()["scrape_configs"] if each["job_name"] == "readiness"]
        job["static_configs"] = [{"targets": [each.url("/health/ready") for each in (cls.daemon, cls.faked)]}]
        job["relabel_configs"][-1]["replacement"] = f"127.0.0.1:{port}"
        return dict(job)

    @classmethod
    def _load(cls) -> None:
        # There are no families of sleep before the first.
        cls._sleep()
        cls.began = time.time()
        with ThreadPoolExecutor(30) as pool:
            statuses = set().union(*pool.map(lambda number: work(cls.daemon, cls.began + SECONDS, number), range(30)))
        assert statuses == {200, 400, 503}, statuses
        cls._sleep()
        time.sleep(0.5)
        cls.ended = time.time()

    @classmethod
    def _sleep(cls) -> None:
        for path in ("/sleep", "/wake_up"):
            assert ask(cls.daemon, path) == 200

    def values(self, expr: str) -> list[float]:
        """Ask for all that a query says about the time of the load, of whatever series."""
        begin = self.began + 0.5
        found = self.prometheus.ask("query_range", query=expr, start=begin, end=self.ended, step=0.25)
        return [value for series in found for _, text in series["values"] if math.isfinite(value := float(text))]

    def chosen(self) -> dict[str, str]:
        """Choose all that the dashboard's variables offer, as Grafana does."""
        values: dict[str, str] = {}
        for variable in dashboard()["templating"]["list"]:
            if variable["type"] != "query":
                continue
            query, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            expr = Question("", f"group by ({label}) ({query})").concrete(WINDOW, values)
            offered = [each["metric"][label] for each in self.prometheus.ask("query", query=expr, time=self.ended)]
            self.assertTrue(offered, variable["name"])
            values[variable["name"]] = "|".join(re.escape(value).replace("\\", "\\\\") for value in sorted(offered))
        return values

    def check(self, questions: Iterable[Question], values: dict[str, str]) -> None:
        """See that each finds numbers, and not 0 alone."""
        families, wrong = samples(), []
        for each in questions:
            found = self.values(each.concrete(WINDOW, values))
            still = {families.get(name) for name in named(each.expr)} & STILL or each.where in NEVER
            if not found or not (any(found) or still):
                wrong.append(f"{each.where}: {'0' if found else 'nothing'} for {each.expr}")
        self.assertFalse(wrong, "\n".join(wrong))

    def test_dashboard(self) -> None:
        """Every query of every panel finds numbers."""
        values = self.chosen()
        self.assertEqual(("vllm", "m", "0|1"), (values["job"], values["model_name"], values["engine"]))
        self.check(shown(), values)

    def test_seen(self) -> None:
        """Queries that find nothing, no number, or 0 where there was something, are seen: the test above can fail."""
        wrong = "vllm:num_requests_runing", "vllm:num_requests_running / 0 * 0", "0 * vllm:num_requests_running"
        for expr in wrong:
            with self.assertRaisesRegex(self.failureException, "for "):
                self.check([Question("wrong", expr)], {})

    def test_recorded(self) -> None:
        """Every rule that records has recorded numbers."""
        names = [Question(each.where, each.where) for each in ruled(FILES[0])]
        self.check(names, {})

    def test_chosen(self) -> None:
        """Whatever metrics the alerts choose by their labels are there."""
        for each in ruled(*FILES[1:]):
            for selector in {*named(each.expr), *re.findall(r"[\w:]+\{.*?\}", each.expr)}:
                self.assertTrue(self.values(selector), f"{each.where}: {selector}")

    def test_load_told(self) -> None:
        """Alerts fire for what really happens to a server under load."""
        for name in ("VllmHttpErrors", "VllmRejectsRequests", "VllmsimFailsOnPurpose"):
            self.assertTrue(self.values(f'ALERTS{{alertname="{name}", alertstate="firing"}}'), name)

    def test_alerts(self) -> None:
        """Alerts fire for what a server shows, is asked to be, or does not answer, and are over when that is."""
        self.await_alerts()
        ready = "name: away\nsteps: [{at: 0s, ready: false}, {at: 1h, ready: true}]"
        self.assertEqual(200, ask(self.faked, "/admin/scenario", ready, kind="application/yaml"))
        self.shape(**{"running-requests": 0, "waiting-requests": "ramp:20:4000:1m", "kv-cache-usage": 0.99})
        self.await_alerts("VllmNotReady", "VllmQueueGrows", "VllmStalled", "VllmKvCacheNearlyFull", "VllmRanksUneven")
        self.shape(**{"running-requests": 7, "waiting-requests": 0, "kv-cache-usage": 0.5})
        self.assertEqual(200, ask(self.faked, "/admin/scenario", "", method="DELETE"))
        self.await_alerts("VllmNoTokens", "VllmsimMetricsStale")
        self.shape(**{"running-requests": 0})
        self.await_alerts()
        self.faked.stop()
        self.await_alerts("VllmServerDown")

    def shape(self, **members: object) -> None:
        """Change fake metrics."""
        self.assertEqual(204, ask(self.faked, "/fake_metrics", members))

    def await_alerts(self, *names: str) -> None:
        """Wait until these alerts of the server with fake metrics fire, and no others."""
        query = f'ALERTS{{alertstate="firing", instance=~"127.0.0.1:{self.faked.port}|", model_name=~"m|"}}'

        def firing() -> set[str]:
            return {each["metric"]["alertname"] for each in self.prometheus.ask("query", query=query)}

        begin = time.monotonic()
        while firing() != set(names):
            self.assertLess(time.monotonic() - begin, PATIENCE, f"{firing()} and not {names}")
            time.sleep(0.1)
