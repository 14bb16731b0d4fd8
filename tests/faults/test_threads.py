"""Threads that never come back: what needs none is served, what needs one is not lost, and the end is in order."""

import os
import signal
import time
from typing import Any, Final
from unittest import skipUnless
from unittest.mock import patch

from tests.dropins import HEAD
from tests.faults.case import FaultTestCase, figure
from tests.faults.clients import FULL, Client, request, share_of_cpu, tally
from tests.folders import make_folder
from tests.integration.daemon import PATIENCE, ROOT, Daemon
from vllmsim.threads import LONG, MORE
from vllmsim.threads import PATIENCE as WAIT

_THREADS: Final = 10
"""How many the reactor's pool has."""
_PLUGIN: Final = '''
class Source:
    """Reads what hangs, when it is asked for that."""

    def __init__(self, surroundings):
        self.surroundings, self.fifo = surroundings, surroundings.options["fifo"]

    async def respond(self, prompt, model, extent, generator):
        if "hang" in prompt.text:
            await self.surroundings.defer_to_thread(open, self.fifo, "rb")
        if "thread" in prompt.text:
            await self.surroundings.defer_to_thread(len, ())
        return await self.surroundings.usual.respond(prompt, model, extent, generator)

source = offer(IResponseSourceFactory, "hanging", implementer(IResponseSource)(Source))
'''
_HUNG: Final = "hang here"


class HangingTests(FaultTestCase):
    """Daemons with a plugin that reads a pipe to which nobody writes."""

    def hang(self, *words: str) -> Daemon:
        """Start one."""
        folder = make_folder(self)
        place = folder / "vllmsim" / "plugins"
        place.mkdir(parents=True)
        place.joinpath("hanging.py").write_text(HEAD + _PLUGIN)
        fifo = folder / "fifo"
        os.mkfifo(fifo)
        self.fifo = fifo
        with patch.dict(os.environ, {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}):
            options = ("--mode", "hanging", "--plugin-options", f'{{"hanging": {{"fifo": "{fifo}"}}}}')
            daemon = self.start(*options, "--max-num-seqs", "200", *words)
            daemon.wait()
        return daemon

    def asking(self, prompt: str, **more: Any) -> bytes:
        """Make the bytes of a request."""
        return request("/v1/completions", {"prompt": prompt, "max_tokens": 3, **more})

    def client(self, daemon: Daemon, prompt: str, **more: Any) -> Client:
        """Ask for something."""
        client = Client(daemon.port).send(self.asking(prompt, **more))
        self.addCleanup(client.connection.close)
        return client

    def test_all_held_up(self) -> None:
        """While all threads hang, what needs none is served at once; at the end those who hang are told in time."""
        daemon = self.hang("--shutdown-timeout", "1s")
        hung = [self.client(daemon, _HUNG, stream=n % 2 == 0) for n in range(_THREADS + 5)]
        waiting = [self.client(daemon, "a thread") for _ in range(5)]
        self.served(daemon, 20)
        self.assertEqual(b"{}", daemon.get("/health"))
        self.assertLess(share_of_cpu(daemon.process.pid, 1), 0.5)
        begin = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        counted = tally(client.read_to_end() for client in (*hung, *waiting))
        self.assertEqual(len(hung) + len(waiting), counted["503"] + counted["told in its stream"], counted)
        self.assertEqual(0, daemon.process.wait(PATIENCE), daemon.output())
        took = time.monotonic() - begin
        self.assertNotIn("Traceback", daemon.output())
        figure(f"threads: all {_THREADS} hang, 20 others served, {counted.total()} told, stopped in {took:.1f} s")

    def test_request_log(self) -> None:
        """A request log that is a pipe which nobody reads holds up neither requests nor the end."""
        pipe = make_folder(self) / "log"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        daemon = self.start("--request-log", str(pipe))
        daemon.wait()
        client = Client(daemon.port)
        self.addCleanup(client.connection.close)
        for _ in range(20):
            client.send(*[self.asking("x" * 200)] * 20)
        client.begin(request("/ping", close=True)).read_to_end()
        self.assertEqual({"whole": 400}, tally([client]))
        self.ended(daemon)
        self.assertIn("Cannot write to the request log", daemon.output())

    @skipUnless(FULL, "takes minutes")
    def test_replaced(self) -> None:
        """Other threads take the places of those that hang, and when there are too many who waits is told."""
        daemon = self.hang()
        hung = [self.client(daemon, _HUNG) for _ in range(_THREADS)]
        time.sleep(1)
        begin = time.monotonic()
        self.assertIn(b"200 OK", self.client(daemon, "a thread").read_some())
        replaced = time.monotonic() - begin
        self.assertLess(replaced, 3 * LONG)
        while len(hung) < _THREADS + MORE:
            hung += [self.client(daemon, _HUNG) for _ in range(_THREADS)]
            time.sleep(LONG + 2)
        late = self.client(daemon, "a thread", stream=False)
        begin = time.monotonic()
        late.connection.settimeout(2 * WAIT)
        self.assertIn(b"503", late.read_some())
        self.assertLess(time.monotonic() - begin, 2 * WAIT)
        self.served(daemon, 20)
        # Whoever wrote to the pipe at last lets all of them go.
        for _ in hung:
            os.close(os.open(self.fifo, os.O_WRONLY))
        for client in hung:
            self.assertIn(b"200 OK", client.read_some())
        self.assertIn("All functions have come back from their threads.", self.ended(daemon))
        figure(f"threads: {len(hung)} hang, a new one after {replaced:.1f} s, the next told, all back later")
