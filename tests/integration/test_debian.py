"""The Debian package: built, installed in a chroot, started as systemd would, upgraded, removed and purged.

`make deb` builds it, and does nothing when it is built already. CI does so beside other things.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from unittest import skipIf

import grpc
from smg_grpc_proto import vllm_engine_pb2, vllm_engine_pb2_grpc
from twisted.trial.unittest import SynchronousTestCase

from tests.debian.chroot import Chroot, lacking
from tests.debian.service import Running
from tests.debian.units import Unit
from tests.folders import make_folder
from tests.integration.daemon import PATIENCE, ROOT, free_port
from vllmsim import __version__

TOOLS = ("make", "dpkg-buildpackage", "dh", "dh_python3", "lintian", "mmdebstrap", "unshare", "setpriv")
MARK = "# the administrator was here"
START = "start vllmsim.socket"
"""What is harmless: it is done only with a socket that the administrator has enabled."""
REASON = lacking(*TOOLS)


def build() -> Path:
    """Build the package if what it is made of has changed since it was."""
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "PYTHONPATH"}}
    done = subprocess.run(["make", "deb"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"make deb:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}")
    (package,) = ROOT.joinpath("dist").glob("vllmsim_*.deb")
    return package


@skipIf(REASON, REASON)
class DebianTests(SynchronousTestCase):
    """A machine on which the package is installed. The last of the tests leaves nothing of it."""

    chroot: Chroot
    package: Path

    @classmethod
    def setUpClass(cls) -> None:
        """Install it."""
        cls.package = build()
        cls.chroot = Chroot(cls.package)
        cls.addClassCleanup(cls.chroot.remove)

    def path(self, name: str) -> Path:
        """Find a file of the chroot."""
        return self.chroot.root / name

    def start(self, watchdog: float = 0.0, listener: socket.socket | None = None) -> Running:
        """Start the service."""
        unit = Unit.read(self.path("lib/systemd/system/vllmsim.service"))
        port = listener.getsockname()[1] if listener else free_port()
        where = "systemd:domain=INET:name=http" if listener else f"tcp:{port}:interface=127.0.0.1"
        self.path("etc/default/vllmsim").write_text(f'VLLMSIM_OPTS="--listen {where}"\n', "utf-8")
        service = Running(self.chroot, unit, port, watchdog, listener)
        self.addCleanup(service.close)
        self.addCleanup(service.stop)
        return service

    def test_clean(self) -> None:
        """Building leaves nothing in the folder that it is described in, nor beside the checkout."""
        said = subprocess.run(
            ["git", "status", "--short", "--ignored", "debian"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        self.assertNotIn("!!", said.stdout)
        self.assertEqual([], list(ROOT.parent.glob("vllmsim_*")))

    def test_files(self) -> None:
        """Commands, manual, completion, configuration and scenarios are where a Debian has them, and it is enabled."""
        for name in (
            "etc/vllmsim/sim.yaml",
            "etc/default/vllmsim",
            "lib/systemd/system/vllmsim@.service",
            "lib/systemd/system/vllmsim.socket",
            "usr/bin/vllmsim-dataset",
            "usr/share/man/man1/vllmsim.1.gz",
            "usr/share/man/man1/vllmsim-dataset.1.gz",
            "usr/share/man/man5/vllmsim.yaml.5.gz",
            "usr/share/bash-completion/completions/vllmsim",
            "usr/share/bash-completion/completions/vllmsim-dataset",
            "usr/share/zsh/vendor-completions/_vllmsim",
            "usr/share/vllmsim/scenarios/cold-start.yaml",
            "usr/share/doc/vllmsim/README.Debian",
        ):
            self.assertTrue(self.path(name).exists(), name)
        wants = self.path("etc/systemd/system")
        self.assertTrue(wants.joinpath("multi-user.target.wants/vllmsim.service").is_symlink())
        self.assertFalse(wants.joinpath("sockets.target.wants/vllmsim.socket").is_symlink())

    def test_configuration(self) -> None:
        """The configuration that comes with it is right, and serves on port 8000."""
        file = ("--config", "/etc/vllmsim/sim.yaml")
        self.assertEqual("", self.chroot.run("vllmsim", *file, "--check-config"))
        self.assertIn("\nport: 8000  # default\n", self.chroot.run("vllmsim", *file, "--print-config"))
        scenario = ("--scenario", "/usr/share/vllmsim/scenarios/cold-start.yaml")
        self.assertEqual("", self.chroot.run("vllmsim", *scenario, "--check-config"))
        self.assertIn("mdoe", self.chroot.run("vllmsim", "--mdoe", "echo", "--check-config", status=1))

    def test_commands(self) -> None:
        """All commands work, with none of the packages that the machine has."""
        self.path("usr/lib/python3/dist-packages/attrs").mkdir()
        self.path("usr/lib/python3/dist-packages/attrs/__init__.py").write_text("raise SystemExit('not this one')")
        self.addCleanup(shutil.rmtree, self.path("usr/lib/python3/dist-packages/attrs"))
        self.assertEqual(f"vllmsim {__version__}\n", self.chroot.run("vllmsim", "--version"))
        self.assertIn("2 streams", self.chroot.run("vllmsim", "bench", "clock", "--streams", "2", "--tokens", "3"))
        pair = {"prompt": "Is it there?", "completion": "It is."}
        self.path("root/pair.jsonl").write_text(json.dumps(pair), "utf-8")
        words = ("--tokenizer", "builtin", "--output-path", "/tmp", "/root/pair.jsonl")  # noqa: S108 - of the chroot
        self.assertIn("sqlite3", self.chroot.run("vllmsim-dataset", *words))

    def test_additions(self) -> None:
        """The administrator's packages are found beside the package's, which can trace without any."""
        own = self.path("usr/local/lib/vllmsim")
        self.addCleanup(shutil.rmtree, own)
        for name in ("vllmsim", "vllmsim_limericks"):
            shutil.copytree(ROOT / "examples" / "plugin" / name, own / name)
        self.assertIn("limericks", self.chroot.run("vllmsim", "--help-plugins"))
        tracing = "opentelemetry.exporter.otlp.proto.http.trace_exporter, opentelemetry.sdk.trace"
        script = f"import sys; sys.path.insert(0, '/usr/lib/vllmsim'); import {tracing}"
        self.assertEqual("", self.chroot.run("/usr/bin/python3", "-ISc", script))

    def test_life(self) -> None:
        """It tells systemd when it serves, that it is alive, when it reads its file again, and when it stops."""
        service = self.start(watchdog=1.0)
        seconds = service.hears("READY=1")
        self.assertEqual(b"{}", service.get("/health").strip() or b"{}")
        service.hears("WATCHDOG=1")
        service.hears("WATCHDOG=1")
        configuration = self.path("etc/vllmsim/sim.yaml")
        before = configuration.read_text("utf-8")
        self.addCleanup(configuration.write_text, before, "utf-8")
        self.assertEqual("0s", json.loads(service.get("/admin/config"))["time-to-first-token"])
        with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
            engine = vllm_engine_pb2_grpc.VllmEngineStub(channel)
            request = vllm_engine_pb2.GenerateRequest(request_id="x", text="Hello!", stream=True)
            *_, last = engine.Generate(request, timeout=PATIENCE)
        self.assertEqual("complete", last.WhichOneof("response"))
        configuration.write_text(f"{before}time-to-first-token: 250ms\n", "utf-8")
        service.process.send_signal(signal.SIGHUP)
        service.hears("RELOADING=1")
        service.hears("READY=1")
        self.assertEqual("250ms", json.loads(service.get("/admin/config"))["time-to-first-token"])
        self.assertEqual(0, service.stop())
        service.hears("STOPPING=1")
        log = service.output()
        self.assertRegex(log, r"(?m)^<6>.*Application startup complete")
        self.assertNotIn("plugin cache", log)
        print(f"ready after {seconds:.2f} s")  # noqa: T201 - shown with -s

    def test_sockets(self) -> None:
        """A socket that systemd opened serves it, and who connects before it is there waits."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        early = socket.create_connection(listener.getsockname(), PATIENCE)
        self.addCleanup(early.close)
        early.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        service = self.start(listener=listener)
        service.hears("READY=1")
        self.assertTrue(early.recv(1024).startswith(b"HTTP/1.1 200 "))
        self.assertEqual(0, service.stop())

    def test_processes(self) -> None:
        """Ranks have processes of their own, which find what the package has, with real tokens and KV events."""
        service_port = free_port(2)
        words = ("--data-parallel-size", "2", "--data-parallel-processes", "--host", "127.0.0.1", "--port")
        more = ("--tokenizer", "builtin", "--enable-kvcache", "--zmq-endpoint", "ipc:///run/vllmsim/events-{rank}")
        unit = Unit.read(self.path("lib/systemd/system/vllmsim.service"))
        supervisor = str(free_port())
        options = [*words, str(service_port), *more, "--data-parallel-supervisor-port", supervisor]
        self.path("etc/default/vllmsim").write_text(f'VLLMSIM_OPTS="{" ".join(options)}"\n', "utf-8")
        service = Running(self.chroot, unit, service_port + 1)
        self.addCleanup(service.close)
        self.addCleanup(service.stop)
        service.hears("READY=1")
        body = json.dumps({"prompt": "Hello!", "max_tokens": 3, "ignore_eos": True}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{service.port}/v1/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            self.assertEqual(3, json.load(response)["usage"]["completion_tokens"])
        self.assertEqual(0, service.stop())

    def test_upgrade_and_end(self) -> None:
        """An edited file survives an upgrade; a removed package leaves what is in /etc, and a purged one nothing.

        What runs is started again at an upgrade, instances too, while the socket stays open; with the package it ends.
        """
        configuration = self.path("etc/vllmsim/sim.yaml")
        configuration.write_text(f"{configuration.read_text('utf-8')}{MARK}\n", "utf-8")
        shutil.copy(self.next_package(), self.path("root/next.deb"))
        # As apt decides where nobody can be asked.
        keep = ("-o", "Dpkg::Options::=--force-confold")
        asked = self.asked_of_systemd("apt-get", "-qq", "-y", *keep, "install", "/root/next.deb")
        self.assertEqual({"restart vllmsim.service", "try-restart vllmsim@*.service"}, set(asked) - {START})
        self.assertIn(f"{__version__}+next", self.chroot.run("dpkg-query", "--show", "vllmsim"))
        self.assertIn(MARK, configuration.read_text("utf-8"))
        self.assertIn("\n# next\n", self.path("etc/vllmsim/sim.yaml.dpkg-dist").read_text("utf-8"))
        self.assertFalse(self.path("usr/lib/vllmsim/six.py").exists())
        service = self.start()
        service.hears("READY=1")
        service.stop()
        self.path("var/lib/private/vllmsim").mkdir(parents=True)
        asked = self.asked_of_systemd("apt-get", "-qq", "-y", "remove", "vllmsim")
        self.assertEqual(["stop vllmsim.socket", "stop vllmsim.service", "stop vllmsim@*.service"], asked)
        left = [name for name in self.chroot.files() if not name.startswith(("etc/", "var/lib/"))]
        self.assertEqual([], left)
        self.assertIn(MARK, configuration.read_text("utf-8"))
        self.chroot.run("apt-get", "-qq", "-y", "purge", "vllmsim")
        self.assertEqual([], self.chroot.files())

    def asked_of_systemd(self, *words: str) -> list[str]:
        """Run a command as on a machine that systemd has started.

        :return: what maintainers' scripts have asked systemd for, in order.
        """
        script = self.path("usr/bin/deb-systemd-invoke")
        script.write_text('#!/bin/sh\necho "$@" >> /root/asked\n', "utf-8")
        script.chmod(0o755)
        self.chroot.run("sh", "-c", 'mkdir -p /run/systemd/system && exec "$@"', "sh", *words)
        asked = self.path("root/asked")
        lines = asked.read_text("utf-8").splitlines()
        asked.unlink()
        return lines

    def next_package(self) -> Path:
        """Make the package of another version, with another configuration and without one of its files."""
        folder = make_folder(self)
        tree, package = folder / "tree", folder / "next.deb"
        subprocess.run(["dpkg-deb", "--raw-extract", str(self.package), str(tree)], check=True)
        control = tree / "DEBIAN" / "control"
        text = control.read_text("utf-8")
        control.write_text(re.sub(r"(?m)^(Version: .*)$", r"\1+next", text), "utf-8")
        sample = tree / "etc" / "vllmsim" / "sim.yaml"
        sample.write_text(f"{sample.read_text('utf-8')}\n# next\n", "utf-8")
        (tree / "usr" / "lib" / "vllmsim" / "six.py").unlink()
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(package)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return package
