"""A pod's container as a process: what the chart makes is what the daemon starts with, and goes on with."""

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.resources import container, needs, only, template
from tests.integration.daemon import PATIENCE, Daemon, DaemonsTestCase
from tests.tls.authority import Authority

POD = {"metadata.name": "sim-0", "metadata.namespace": "lab", "status.podIP": "127.0.0.1"}
"""What the downward API tells a pod."""
SECRETS = {("keys", "api-key"): "sk-lab secret"}


class Volume:
    """A folder with the files of a ConfigMap, which changes as the kubelet changes one: by swapping a link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._count = 0

    def update(self, files: dict[str, str]) -> None:
        """Have other files there."""
        self._count += 1
        own = self.folder / f"..{self._count}"
        own.mkdir(parents=True)
        for name, text in files.items():
            (own / name).write_text(text, "utf-8")
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        link = self.folder / "..data_tmp"
        link.symlink_to(own.name)
        link.rename(self.folder / "..data")


@needs("helm")
class PodTests(DaemonsTestCase):
    """A daemon that is started as the chart says."""

    def setUp(self) -> None:
        """Make the folders that a pod has."""
        folder = Path(self.mktemp()).absolute()
        self.config, self.certificate = Volume(folder / "config"), Volume(folder / "tls")

    def here(self, text: str) -> str:
        """Replace the paths of a pod."""
        return text.replace("/etc/vllmsim-tls", str(self.certificate.folder)).replace(
            "/etc/vllmsim/", f"{self.config.folder}/"
        )

    def mount(self, documents: list[Any]) -> None:
        """Have the files of the ConfigMap in their folder."""
        data = only(documents, "ConfigMap")["data"]
        self.config.update({name: self.here(text) for name, text in data.items()})

    def run_pod(self, documents: list[Any]) -> Daemon:
        """Start the container of a deployment."""
        told = container(documents)
        variables = [f"{name}={value}" for name, value in self.environment(told).items()]
        program = ["env", *variables, str(Path(sys.executable).with_name("vllmsim"))]
        return self.start(*map(self.here, told["args"]), program=program)

    def environment(self, each: Any) -> dict[str, str]:
        """Fill in the variables of a container, as the kubelet does."""
        told = {}
        for variable in each.get("env", ()):
            source = variable.get("valueFrom", {})
            if "fieldRef" in source:
                told[variable["name"]] = POD[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                told[variable["name"]] = SECRETS[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
        return told

    def passes(self, documents: list[Any], url: str, **variables: str) -> tuple[int, str]:
        """Do what the chart's test does."""
        [test] = only(documents, "Pod")["spec"]["containers"]
        self.assertEqual("python", test["command"][0])
        words = [*test["command"][1:], test["args"][0], f"{url}/health", url]
        environment = {**os.environ, **self.environment(test), **variables}
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False
        )
        return done.returncode, done.stdout.strip()

    def until(self, holds: Callable[[], Any]) -> Any:
        """Wait for something."""
        end = time.monotonic() + PATIENCE
        while not (found := holds()) and time.monotonic() < end:
            time.sleep(0.05)
        self.assertTrue(found)
        return found

    def test_pod(self) -> None:
        """It starts, tells who it is, passes the chart's own test, and takes over what changes in the mounted map."""

        def values(most: int) -> dict[str, Any]:
            config = {"max-num-seqs": most, "seed": "18446744073709551615", "mode": "echo"}
            config["chat-template"] = "/etc/vllmsim/template.jinja"
            files = {"template.jinja": "{{ messages[-1].content }}\n"}
            secrets = {"apiKey": {"name": "keys"}}
            return {
                "config": config, "files": files, "secrets": secrets, "onConfigChange": "live", "watchInterval": "50ms",
            }  # fmt: skip

        documents = template(values(64))
        self.mount(documents)
        pod = self.run_pod(documents)
        pod.wait()
        told = json.loads(pod.get("/admin/config"))
        self.assertEqual((64, 18446744073709551615), (told["max-num-seqs"], told["seed"]))
        self.assertEqual([*POD.values()], [told[name] for name in ("pod-name", "pod-namespace", "pod-ip")])
        self.assertEqual((0, "Are you there?"), self.passes(documents, pod.url()))
        self.assertEqual(1, self.passes(documents, pod.url(), VLLM_API_KEY="another")[0])
        self.mount(template(values(7)))
        self.until(lambda: json.loads(pod.get("/admin/config"))["max-num-seqs"] == 7)

    def test_certificate(self) -> None:
        """It has its secret's certificate, passes the chart's own test over TLS, and takes over a renewed one."""

        def renew() -> None:
            pair = authority.issue()
            self.certificate.update({"tls.crt": pair.certificate_pem.decode(), "tls.key": pair.key_pem.decode()})

        def shown() -> str | None:
            try:
                return ssl.get_server_certificate(("127.0.0.1", pod.port), timeout=PATIENCE)
            except OSError:
                return None

        authority = Authority()
        renew()
        documents = template({"tls": {"secretName": "certificate"}, "config": {"mode": "echo"}})
        self.mount(documents)
        pod = self.run_pod(documents)
        first = self.until(shown)
        self.assertEqual((0, "Are you there?"), self.passes(documents, pod.url().replace("http:", "https:")))
        renew()
        self.until(lambda: shown() not in {None, first})
