"""A pod's container as a process: what the chart makes is what the daemon starts with, and goes on with."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster.resources import container, needs, only, template
from tests.integration.daemon import PATIENCE, DaemonTestCase

POD = {"POD_NAME": "sim-0", "POD_NAMESPACE": "lab", "POD_IP": "127.0.0.1"}


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
        return {"config": whole, "files": files, "onConfigChange": "live", "watchInterval": "50ms"}

    def admin(self) -> Any:
        """Read the configuration that is in effect."""
        return json.loads(self.pod.get("/admin/config"))

    def test_pod(self) -> None:
        """It starts, tells who it is, passes the chart's own test, and takes over what changes in the mounted map."""
        volume = Volume(Path(self.mktemp()))
        documents = template(self.values(**{"max-num-seqs": 64}))

        # A path in the configuration is one in the pod; here it is elsewhere.
        def mounted(resources: list[Any]) -> dict[str, str]:
            data = only(resources, "ConfigMap")["data"]
            return {name: text.replace("/etc/vllmsim", str(volume.folder)) for name, text in data.items()}

        volume.update(mounted(documents))
        words = [word.replace("/etc/vllmsim", str(volume.folder)) for word in container(documents)["args"]]
        program = [str(Path(sys.executable).with_name("vllmsim"))]
        self.pod = self.start(*words, program=["env", *(f"{name}={value}" for name, value in POD.items()), *program])
        self.pod.wait()
        self.assertEqual((64, 18446744073709551615), tuple(self.admin()[name] for name in ("max-num-seqs", "seed")))
        self.assertEqual("sim-0", self.admin()["pod-name"])

        [test] = only(documents, "Pod")["spec"]["containers"]
        self.assertEqual("python", test["command"][0])
        script = [sys.executable, *test["command"][1:], test["args"][0], self.pod.url("/health"), self.pod.url()]
        told = subprocess.run(script, capture_output=True, text=True, env={**os.environ}, timeout=PATIENCE, check=False)
        self.assertEqual((0, "Are you there?"), (told.returncode, told.stdout.strip()), told.stderr)

        volume.update(mounted(template(self.values(**{"max-num-seqs": 7}))))
        end = time.monotonic() + PATIENCE
        while self.admin()["max-num-seqs"] != 7 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(7, self.admin()["max-num-seqs"])
