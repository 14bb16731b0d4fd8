"""Sockets on their way to ranks' processes."""

import os
import socket

from twisted.internet.testing import MemoryReactorClock

from tests.commandline import load_words
from tests.systemd.inheriting import InheritingTestCase
from vllmsim.listening import StartError
from vllmsim.processes.handing import InheritedSockets


class HandingTests(InheritingTestCase):
    """Which socket goes where."""

    def make(self, *words: str, **sockets: int) -> InheritedSockets:
        """Find the sockets of two ranks."""
        environ = self.inherit(**sockets)
        self.patch(os, "environ", environ)
        configuration = load_words(["-dpm", "-dp", "2", *words], {}).configuration
        return InheritedSockets(configuration, MemoryReactorClock())

    def test_names(self) -> None:
        """Each rank gets its own, for clients and for administrators, and the supervisor knows where they are."""
        first, second, admin, further = self.opened(), self.opened(socket.AF_INET6), self.opened(), self.opened()
        sockets = self.make(
            "--listen", "systemd:domain=INET:name=rank{rank}",
            "--admin-endpoint", "systemd:domain=INET:name=admin{rank}",
            rank0=first, rank1=further, admin0=admin, admin1=self.opened(), other=second,
        )  # fmt: skip
        self.assertEqual({"rank0": first, "admin0": admin}, sockets.descriptors[0])
        self.assertEqual(further, sockets.descriptors[1]["rank1"])
        with socket.socket(fileno=os.dup(further)) as copy:
            port = copy.getsockname()[1]
        self.assertEqual(f"tcp:{port}:interface=127.0.0.1", sockets.endpoint(1))

    def test_none(self) -> None:
        """Ranks that open their ports themselves get none."""
        sockets = self.make("--port", "9000")
        self.assertEqual({0: {}, 1: {}}, sockets.descriptors)
        self.assertEqual("tcp:9001:backlog=2048", sockets.endpoint(1))

    def test_missing(self) -> None:
        """One that is not there is one clear line, and so is one without a name."""
        for listen, why in (
            ("systemd:domain=INET:name=rank{rank}", "systemd has passed no socket named 'rank1', but 'rank0'"),
            ("systemd:domain=INET:index={rank}", "ranks in processes are passed sockets by name; say name="),
        ):
            error = self.assertRaises(StartError, self.make, "--listen", listen, rank0=self.opened())
            self.assertIn(why, str(error.code))
            self.assertNotIn("\n", str(error.code))
