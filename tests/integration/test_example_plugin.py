"""The example of plugins: installed, found by a daemon, and used."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from tests.integration.daemon import PATIENCE, ROOT, Daemon

EXAMPLE = ROOT / "examples" / "plugin"
PLUGINS = ("--mode", "limericks", "--latency-calculator", "lognormal", "--time-to-first-token", "20ms")


def run(*words: str, path: Path | None = None, where: Path = ROOT) -> str:
    """Run Python, with a folder on its path, and read what it says."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *([path] if path else [])]))}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return f"{done.returncode}: {done.stdout}{done.stderr}"


class ExamplePluginTests(SynchronousTestCase):
    """A copy of the example, and what is installed from it."""

    def setUp(self) -> None:
        """Copy it: an installation leaves files behind."""
        self.folder = make_folder(self)
        self.copy = self.folder / "copy"
        shutil.copytree(EXAMPLE, self.copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))

    def install(self, *words: str) -> Path:
        """Install it into a folder of its own, from the copy and from nowhere else."""
        target = self.folder / "installed"
        pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
        said = run(*pip, "--no-build-isolation", "--target", str(target), *words, str(self.copy), where=self.folder)
        self.assertTrue(said.startswith("0:"), said)
        return target

    def ask(self, daemon: Daemon, path: str, value: Any) -> Any:
        """Send JSON, and read the answer."""
        body = json.dumps(value).encode()
        request = urllib.request.Request(daemon.url(path), body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.load(response)

    def daemon(self, path: Path, *words: str) -> Daemon:
        """Start a daemon that has a folder on its path."""
        self.patch(os, "environ", {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"})
        daemon = Daemon(*words)
        self.addCleanup(daemon.log.close)
        self.addCleanup(daemon.stop)
        daemon.wait()
        return daemon

    def test_folder(self) -> None:
        """A folder on Python's path is enough, which is what an editable installation is."""
        listed = run("-m", "vllmsim", "--help-plugins", path=self.copy)
        self.assertTrue(listed.startswith("0:"), listed)
        for name in ("limericks", "lognormal", "padded"):
            self.assertRegex(listed, rf"  {name}\n        .*\n        from {self.copy}/vllmsim/plugins/limericks.py")

    def test_own_tests(self) -> None:
        """The example's own tests pass."""
        said = run("-m", "unittest", "-q", path=self.copy, where=self.copy)
        self.assertTrue(said.startswith("0:"), said)

    def test_installed(self) -> None:
        """Installed by pip, it is found where it is, and nothing is written there."""
        if importlib.util.find_spec("setuptools") is None:
            self.skipTest("there is no setuptools to build with")
        path = self.install()
        before = sorted(each for each in path.rglob("*") if "__pycache__" not in each.parts)
        daemon = self.daemon(path, *PLUGINS)
        messages = [{"role": "user", "content": "What is a gateway?"}]
        answer = self.ask(daemon, "/v1/chat/completions", {"messages": messages})
        self.assertIn(" gateway ", answer["choices"][0]["message"]["content"])
        self.ask(daemon, "/admin/config", {"latency-calculator": "constant"})
        self.ask(daemon, "/admin/config", {"latency-calculator": "lognormal"})
        self.assertEqual(0, daemon.stop(), daemon.output())
        self.assertEqual(before, sorted(each for each in path.rglob("*") if "__pycache__" not in each.parts))

    def test_faults(self) -> None:
        """What is wrong with a plugin's options is one line with status 1."""
        said = run("-m", "vllmsim", *PLUGINS, "--plugin-options.lognormal.sigme", "1", path=self.copy)
        text = "lognormal says: 'sigme' is no option of it; did you mean sigma?\n"
        self.assertEqual(f"1: vllmsim: cannot start: latency-calculator: the latency model {text}", said[-200:])

    def test_processes(self) -> None:
        """Ranks that have a process each have plugins too, and change to them together."""
        daemon = self.daemon(self.copy, "--mode", "limericks", "--data-parallel-processes", "-dp", "1")
        self.ask(daemon, "/admin/config", {"latency-calculator": "lognormal"})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.ask(daemon, "/admin/config", {"plugin-options": {"lognormal": {"sigma": 7}}})
        self.assertEqual(400, caught.exception.code)
        caught.exception.close()
        self.assertEqual(0, daemon.stop(), daemon.output())
