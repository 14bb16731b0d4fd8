"""Faults 1, 4 and 5: what keeps a server from starting, or ends it early."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.catalogue.case import CHAT, COMPLETIONS, BrokenTestCase
from tests.dataset.making import fill
from tests.integration.daemon import PATIENCE, free_port


class StartTests(BrokenTestCase):
    """Faults 1 and 5: what keeps it from starting."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start none that serves."""

    def setUp(self) -> None:
        """Connect to none."""

    def test_status(self) -> None:
        """1, 5, 17: A server that cannot start says why in a line and ends with status 1, however late that shows."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        folder.joinpath("text").write_text("no database", "utf-8")
        fill(folder / "other.db", [], table="other")
        wrong: dict[tuple[str, ...], str] = {
            ("--fake-metrics",): "--fake-metrics (command line): needs a value",
            ("--dataset-path", f"{folder}/nothing"): "database file does not exist",
            ("--dataset-path", f"{folder}/text"): "is no SQLite database",
            ("--dataset-path", f"{folder}/other.db"): "there is no table 'llmd'",
            ("--ssl-certfile", f"{folder}/text"): "text",
        }
        port = free_port(2)
        wrong["-dp", "2", "--enable-kvcache", "--zmq-endpoint", f"tcp://*:{port + 1}"] = "Address already in use"
        for words, said in wrong.items():
            daemon = self.start(*words, port=port)
            self.assertEqual(1, daemon.process.wait(PATIENCE), daemon.output())
            self.assertIn(said, daemon.output())
            self.assertNotIn("Traceback", daemon.output())

    def test_encoder(self) -> None:
        """4: A server that only encodes media may have a KV cache: requests are answered, and it sleeps and wakes."""
        words = ("--mm-encoder-only", "--enable-kvcache", "--enable-sleep-mode", "--timeout-keep-alive", "600")
        self.daemon = self.start("--model", "m", *words)
        self.daemon.wait()
        self.connection = self.connect(self.daemon)
        chat = {"messages": [{"role": "user", "content": "x " * 100}]}
        bodies = (
            (CHAT, chat),
            (COMPLETIONS, {"prompt": "x " * 100}),
            ("/inference/v1/generate", {"token_ids": [*range(1, 50)], "sampling_params": {}}),
        )
        for _ in range(2):
            for path, body in bodies:
                status, answer = self.ask(path, body)
                self.assertEqual(200, status, answer)
            for path in ("/sleep?level=1", "/wake_up", "/reset_prefix_cache"):
                status, answer = self.ask(path, None)
                self.assertEqual(200, status, answer)
        self.assertIsNone(self.daemon.process.poll())
        self.assertEqual(0, self.daemon.stop())
        self.assertNotIn("Traceback", self.daemon.output())
