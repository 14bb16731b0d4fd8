"""The daemon, put together."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from twisted.application.service import MultiService, Service
from twisted.internet import reactor
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from vllmsim import daemon, tap


class ServiceTests(SynchronousTestCase):
    """From options to services."""

    def setUp(self) -> None:
        """Keep the reactor's clock."""
        self.patch(reactor, "seconds", time.time)

    def make(self, *words: str) -> MultiService:
        """Make the service tree."""
        options = tap.Options()
        options.parseOptions(list(words))
        return tap.makeService(options)

    def test_tree(self) -> None:
        """The daemon is a service per rank, and two for what comes from outside; its time follows no wall clock."""
        ranks, reloading, signals = self.make("--data-parallel-size", "2")
        names = [type(service).__name__ for service in (*ranks, reloading, signals)]
        self.assertEqual(["RankService", "RankService", "Reloading", "SignalService"], names)
        self.assertIs(time.monotonic, reactor.seconds)

    def test_processes(self) -> None:
        """With processes the daemon is a supervisor, whatever the number of ranks; vLLM's own flag asks for it too."""
        for words in (
            ("--data-parallel-processes",),
            ("-dpm", "-dp", "2"),
            ("--data-parallel-multi-port-external-lb",),
        ):
            names = [type(each).__name__ for each in self.make(*words)]
            self.assertEqual(["Supervisor", "Reloading", "SignalService"], names)
            self.assertIs(time.monotonic, reactor.seconds)

    def test_announced(self) -> None:
        """Who starts it as a service of systemd's is told how it is, whatever kind of daemon it is."""
        self.patch(os, "environ", {**os.environ, "NOTIFY_SOCKET": "/nowhere"})
        for words, first in (((), "RankServices"), (("-dpm",), "Supervisor")):
            [ranks, systemd, *rest] = self.make(*words)
            names = [type(each).__name__ for each in (ranks, systemd, *rest)]
            self.assertEqual([first, "SystemdService", "Reloading", "SignalService"], names)
        self.patch(os, "environ", {**os.environ, "NOTIFY_SOCKET": ""})
        self.assertEqual(["RankServices", "Reloading", "SignalService"], [type(each).__name__ for each in self.make()])

    def test_unserved(self) -> None:
        """A socket that systemd has passed and nobody serves is named."""
        self.patch(os, "environ", {**os.environ, "LISTEN_FDNAMES": "http:admin"})
        top = self.make("--admin-endpoint", "9001", "--host", "127.0.0.1")
        self.patch(MultiService, "startService", lambda _: None)
        with capturedLogs() as events:
            top.startService()
        said = [event["log_format"].format(**event) for event in events]
        rest = "which systemd has passed; see the option listen."
        self.assertEqual([f"Nobody serves the socket {name!r}, {rest}" for name in ("http", "admin")], said)

    def test_hung_up(self) -> None:
        """SIGHUP has the configuration and certificates read again: in each process those that it has, once it has."""
        heard: list[Any] = []

        class Ranks(Service):
            """What serves ranks."""

            def reload(self, who: str) -> None:
                """Remember who asks."""
                heard.append(who)

        class Configuration:
            """What reads the configuration again."""

            def reload(self, who: str) -> str:
                """Remember who asks."""
                heard.append(who)
                return "done"

        top, reloading = self.make(), cast("Any", Configuration())
        self.assertTrue(callable(cast("Any", top.getServiceNamed("ranks")).reload))
        self.assertTrue(callable(cast("Any", self.make("-dpm").getServiceNamed("ranks")).reload))
        top = MultiService()
        daemon._hung_up(top, reloading, "early")
        ranks = Ranks()
        ranks.setName("ranks")
        ranks.setServiceParent(top)
        self.assertEqual("done", daemon._hung_up(top, reloading, "SIGHUP"))
        self.assertTrue(self.successResultOf(daemon._hung_up(top, None, "of a rank")))
        self.assertEqual(["early", "SIGHUP", "SIGHUP", "of a rank"], heard)

    def test_file(self) -> None:
        """The file is read again from where it was, whatever folder the daemon goes to."""
        [_, reloading, _] = self.make()
        self.assertIs(None, vars(reloading)["path"])
        with TemporaryDirectory() as folder:
            path = Path(folder, "sim.yaml")
            path.write_text("port: 9001\n", "utf-8")
            self.addCleanup(os.chdir, Path.cwd())
            os.chdir(folder)
            [_, reloading, _] = self.make("--config", "sim.yaml")
            self.assertEqual(str(path.resolve()), vars(reloading)["path"])
            os.chdir("/")
            self.assertEqual(9001, vars(reloading)["_read"]().configuration.port)

    def test_log(self) -> None:
        """A seed that was drawn is logged; options without effect are named once each."""
        with capturedLogs() as events:
            top = self.make("--lora-dtype", "auto", "--quantization", "x", "--enable-kvcache", "--kv-cache-size", "9")
            self.patch(MultiService, "startService", lambda _: None)
            top.startService()
        own = ("vllmsim.daemon", "vllmsim.logs.opening")
        texts = [event["log_format"].format(**event) for event in events if event["log_namespace"] in own]
        self.assertIn("quantization (--quantization) is accepted and has no effect.", texts)
        self.assertEqual(2, len([text for text in texts if "no effect" in text]))
        self.assertTrue(any(text.startswith("The seed is ") for text in texts))
        self.assertEqual(1, len([text for text in texts if "128 tokens and not 1024" in text]))
        with capturedLogs() as events:
            self.make("--seed", "1")
        self.assertEqual([], [event for event in events if event["log_namespace"] == "vllmsim.daemon"])

    def test_cannot_start(self) -> None:
        """A rank that cannot be is one line and status 1."""
        error = self.assertRaises(SystemExit, self.make, "--listen", "carrier-pigeon:1")
        self.assertIn("vllmsim: cannot listen on", str(error.code))
