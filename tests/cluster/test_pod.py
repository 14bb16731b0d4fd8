"""A pod's container as a process: what the chart makes is what the daemon starts with, and goes on with."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster.resources import container, needs, only, template
from tests.integration.daemon import PATIENCE, Daemon, DaemonTestCase

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
class PodTests(DaemonTestCase):
    """A daemon that is started as the chart says."""

    volume: Volume
    pod: Daemon

    @classmethod
    def setUpClass(cls) -> None:
        """Start none for all tests."""

    def values(self, **config: Any) -> dict[str, Any]:
        """Make values whose changes come at once."""
        files = {"template.jinja": "{{ messages[-1].content }}\n"}
        whole = {
            "seed": "18446744073709551615",
            "chat-template": "/etc/vllmsim/template.jinja",
            "mode": "echo",
            **config,
        }
        secrets = {"apiKey": {"name": "keys"}}
        return {"config": whole, "files": files, "onConfigChange": "live", "watchInterval": "50ms", "secrets": secrets}

    def mounted(self, documents: list[Any]) -> dict[str, str]:
        """List the files of the ConfigMap, with the paths that they have here."""
        data = only(documents, "ConfigMap")["data"]
        return {name: text.replace("/etc/vllmsim", str(self.volume.folder)) for name, text in data.items()}

    def pod_environment(self, each: Any) -> dict[str, str]:
        """Fill in the variables of a container, as the kubelet does."""
        told = {}
        for variable in each.get("env", ()):
            source = variable.get("valueFrom", {})
            if "fieldRef" in source:
                told[variable["name"]] = POD[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                told[variable["name"]] = SECRETS[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
        return told

    def passes(self, documents: list[Any], **variables: str) -> tuple[int, str]:
        """Do what the chart's test does."""
        [test] = only(documents, "Pod")["spec"]["containers"]
        self.assertEqual("python", test["command"][0])
        words = [*test["command"][1:], test["args"][0], self.pod.url("/health"), self.pod.url()]
        environment = {**os.environ, **self.pod_environment(test), **variables}
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False
        )
        return done.returncode, done.stdout.strip()

    def admin(self) -> Any:
        """Read the configuration that is in effect."""
        return json.loads(self.pod.get("/admin/config"))

    def test_pod(self) -> None:
        """It starts, tells who it is, passes the chart's own test, and takes over what changes in the mounted map."""
        self.volume = Volume(Path(self.mktemp()))
        documents = template(self.values(**{"max-num-seqs": 64}))
        self.volume.update(self.mounted(documents))
        words = [word.replace("/etc/vllmsim", str(self.volume.folder)) for word in container(documents)["args"]]
        variables = [f"{name}={value}" for name, value in self.pod_environment(container(documents)).items()]
        self.pod = self.start(*words, program=["env", *variables, str(Path(sys.executable).with_name("vllmsim"))])
        self.pod.wait()
        self.assertEqual((64, 18446744073709551615), tuple(self.admin()[name] for name in ("max-num-seqs", "seed")))
        self.assertEqual([*POD.values()], [self.admin()[name] for name in ("pod-name", "pod-namespace", "pod-ip")])

        self.assertEqual((0, "Are you there?"), self.passes(documents))
        self.assertEqual(1, self.passes(documents, VLLM_API_KEY="another")[0])

        self.volume.update(self.mounted(template(self.values(**{"max-num-seqs": 7}))))
        end = time.monotonic() + PATIENCE
        while self.admin()["max-num-seqs"] != 7 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(7, self.admin()["max-num-seqs"])
