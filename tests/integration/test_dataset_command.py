"""``vllmsim-dataset`` as a process, beside a running daemon and a hub."""

import contextlib
import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.folders import make_folder
from tests.integration.daemon import PATIENCE, ROOT, Daemon, DaemonTestCase

# Jobs in the background, such as tests may be, have some signals ignored.
HEARING = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); s.signal(s.SIGHUP, s.SIG_DFL)"
PROGRAM = [sys.executable, "-c", f"{HEARING}; from vllmsim.scripts.dataset.command import main; main()"]
PROMPTS: list[dict[str, Any]] = [
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Tōkyō?"}]},
    {"messages": [{"role": "user", "content": "Say it again."}]},
    {"prompt": "Once upon a time"},
]


class CommandCase(DaemonTestCase):
    """Tests that run the command."""

    words = ("--model", "m", "--seed", "5")

    def setUp(self) -> None:
        """Make a folder with prompts."""
        self.folder = make_folder(self)
        self.input = self.folder / "in.jsonl"
        self.input.write_text("".join(json.dumps(each) + "\n" for each in PROMPTS))

    def begin(self, *words: str, **environ: str) -> "subprocess.Popen[str]":
        """Start the command in the folder."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment["PYTHONPATH"] = str(ROOT)
        environment["XDG_CACHE_HOME"] = str(self.folder / "cache")
        process = subprocess.Popen(
            [*PROGRAM, *words],
            cwd=self.folder,
            env=environment | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def make(self, *words: str, status: int = 0, **environ: str) -> tuple[str, str]:
        """Run the command.

        :return: what it says, and what it complains of.
        """
        process = self.begin(*words, **environ)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(status, process.returncode, err)
        self.assertNotIn("Traceback", err)
        return out, err

    def files(self) -> list[str]:
        """List what is in the folder, but for the prompts."""
        return sorted(each.name for each in self.folder.iterdir() if each not in {self.input, self.folder / "cache"})

    def ask(self, daemon: Daemon, prompt: dict[str, Any], *, chat: bool) -> tuple[str, list[int]]:
        """Ask for an answer, and leave out the token that ends it."""
        if "prompt" in prompt:
            prompt = {"messages": [{"role": "user", "content": prompt["prompt"]}]}
        if chat:
            path, body = "/v1/chat/completions", {"messages": prompt["messages"]}
        else:
            path, body = "/v1/completions", {"prompt": prompt["messages"][-1]["content"]}
        request = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE)
        self.addCleanup(request.close)
        data = json.dumps(body | {"max_tokens": 100, "return_token_ids": True})
        request.request("POST", path, data, {"Content-Type": "application/json"})
        choice = json.loads(request.getresponse().read())["choices"][0]
        ids = choice["token_ids"][:-1] if choice["finish_reason"] == "stop" else choice["token_ids"]
        return choice["message"]["content"] if chat else choice["text"], ids

    def await_file(self, name: str) -> None:
        """Wait until something is there."""
        end = time.monotonic() + PATIENCE
        while not (self.folder / name).exists():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)


class RecordingTests(CommandCase):
    """A running server's answers."""

    def test_recorded(self) -> None:
        """A server that has the database says what the recorded one has said, to the byte, and tells the same ids."""
        words = (str(self.input), "--record", self.daemon.url("/v1"), "--output-file", "n", "--max-tokens", "40")
        out, err = self.make(*words)
        self.assertIn("6 records: 3 of conversations, 3 of completions", out)
        self.assertIn("token ids: as the server tells them", out)
        self.assertEqual(("", ["n.json", "n.md", "n.sqlite3"]), (err, self.files()))
        recorded = json.loads((self.folder / "n.json").read_bytes())
        other = self.start("--model", "x", "--dataset-path", str(self.folder / "n.sqlite3"))
        other.wait()
        for number, record in enumerate(recorded):
            said, ids = self.ask(other, PROMPTS[number // 2], chat=number % 2 == 1)
            self.assertEqual((record["generated"], record["gen_tokens"]["Tokens"]), (said, ids))

    def test_order(self) -> None:
        """However many requests there are at a time, the records are in the order of the input."""
        self.input.write_text("".join(json.dumps({"prompt": f"number {n}"}) + "\n" for n in range(60)))
        words = (str(self.input), "--record", self.daemon.url(), "--records", "completions", "--concurrency", "16")
        self.make(*words, "--max-records", "50")
        recorded = json.loads((self.folder / "inference-sim-dataset.json").read_bytes())
        self.assertEqual([f"number {n}" for n in range(50)], [each["input_text"] for each in recorded])

    def test_interrupted(self) -> None:
        """Ctrl-C in the middle ends the command soon, and leaves nothing."""
        slow = self.start("--model", "m", "--time-to-first-token", "200ms", "--inter-token-latency", "50ms")
        slow.wait()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.begin(str(self.input), "--record", slow.url(), "--output-path", "o/p")
            self.await_file("o/p")
            time.sleep(0.3)
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
            self.assertEqual((130, "vllmsim-dataset: interrupted; nothing was made\n"), (process.returncode, err))
            self.assertEqual([], self.files())

    def test_nobody(self) -> None:
        """A server that is not there, or has no such model, is told in a line with status 1."""
        _, err = self.make(str(self.input), "--record", "http://127.0.0.1:1", "--retries", "0", status=1)
        self.assertEqual(
            "vllmsim-dataset: the server at http://127.0.0.1:1 cannot be reached: Connection was refused by other side:"
            " 111: Connection refused\n",
            err,
        )
        _, err = self.make(str(self.input), "--record", self.daemon.url(), "--model", "none", status=1)
        self.assertIn("vllmsim-dataset: the server answers with status 404: The model `none` does not exist.", err)
        self.assertEqual(([], 1), (self.files(), len(err.splitlines())))


class BuildingTests(CommandCase):
    """An input's answers."""

    def test_built(self) -> None:
        """What is built is served: the same questions get the answers of the input, with the same tokenizer."""
        pair = {"prompt": "Hello, wörld! 你好 😀", "completion": "I hear it's very cold in 東京 😀."}
        self.input.write_text(json.dumps(pair))
        for tokenizer in ("words", "builtin"):
            words = ("--output-file", tokenizer, "--tokenizer", tokenizer)
            out, _ = self.make(str(self.input), *words)
            self.assertIn("2 records: 1 of conversations, 1 of completions", out)
            _, err = self.make(str(self.input), *words, status=1)
            self.assertIn(f"output file already exists: {tokenizer}.sqlite3; --force replaces it", err)
            database = str(self.folder / f"{tokenizer}.sqlite3")
            other = self.start("--model", "x", "--tokenizer", tokenizer, "--dataset-path", database)
            other.wait()
            recorded = json.loads((self.folder / f"{tokenizer}.json").read_bytes())
            for chat in (False, True):
                said = self.ask(other, {"prompt": pair["prompt"]}, chat=chat)
                self.assertEqual((pair["completion"], recorded[0]["gen_tokens"]["Tokens"]), said)

    def test_render_service(self) -> None:
        """A render service makes the tokens of prompts: those that its own chats have."""
        self.input.write_text('{"prompt": "Where is Tōkyō?", "completion": "Far from here, in 日本."}\n')
        self.make(str(self.input), "--output-file", "a", "--tokenizer", "words")
        words = ("--render-url", self.daemon.url(), "--model", "m")
        self.make(str(self.input), "--output-file", "b", *words)
        first, second = (json.loads((self.folder / name).read_bytes()) for name in ("a.json", "b.json"))
        hashes = [[record["prompt_hash"] for record in records] for records in (first, second)]
        self.assertEqual(hashes[0], hashes[1])
        self.assertEqual(["Far from here, in 日本."] * 2, [record["generated"] for record in second])
        _, err = self.make(str(self.input), "--render-url", "http://127.0.0.1:1", "--output-file", "c", status=1)
        self.assertEqual("vllmsim-dataset: The render service cannot be reached.", err.splitlines()[-1])

    def test_tokenizer(self) -> None:
        """A tokenizer that is not there is told in a line."""
        _, err = self.make(str(self.input), "--tokenizer", "./none", status=2)
        self.assertIn("there is nothing at './none'", err)
        (self.folder / "tokenizer.json").write_text("{}")
        _, err = self.make(str(self.input), "--tokenizer", "./tokenizer.json", status=1)
        self.assertEqual(1, len(err.splitlines()), err)
        self.assertTrue(err.startswith("vllmsim-dataset: "), err)

    def test_large(self) -> None:
        """An interrupt in the middle of a large input leaves nothing, and a failure neither."""
        line = json.dumps({"prompt": "x " * 500, "completion": "y " * 500}) + "\n"
        self.input.write_text(line * 20_000 + "{")
        process = self.begin(str(self.input), "--max-records", "0", "--output-path", "o")
        self.await_file("o")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((130, "vllmsim-dataset: interrupted; nothing was made\n"), (process.returncode, err))
        self.input.write_text(line * 3 + "{")
        _, err = self.make(str(self.input), "--output-path", "o", status=1)
        self.assertTrue(err.startswith("vllmsim-dataset: in.jsonl, line 4: it is not JSON: "), err)
        self.assertEqual([], self.files())

    def test_example(self) -> None:
        """The example's conversations make records, and none of them is skipped."""
        out, err = self.make(str(ROOT / "examples" / "conversations.jsonl"))
        self.assertIn("12 records: 6 of conversations, 6 of completions", out)
        self.assertEqual((0, ""), (out.count("skipped"), err))

    def test_help(self) -> None:
        """The help needs no reactor."""
        out, _ = self.make("--help")
        self.assertIn("vllmsim-dataset prompts.jsonl --record", out)


class HubTests(CommandCase):
    """Inputs that are downloaded."""

    @contextlib.contextmanager
    def hub(self) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
        """Serve files, and remember who asks for which with which token."""
        seen: list[tuple[str, str | None]] = []

        class Hub(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, self.headers["Authorization"]))
                super().do_GET()

            def log_message(self, *_arguments: object) -> None:
                pass

        folder = self.folder / "cache" / "hub" / "datasets" / "a" / "b" / "resolve" / "main"
        folder.mkdir(parents=True)
        (folder / "in file.jsonl").write_bytes(self.input.read_bytes())
        with http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Hub, directory=str(self.folder / "cache" / "hub"))
        ) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}", seen
            finally:
                server.shutdown()
                thread.join()

    def test_downloaded(self) -> None:
        """A file of a dataset on a hub is downloaded once, with the user's token."""
        words = "--hf-repo", "a/b", "--input-file", "in file.jsonl"
        self.input.write_text('{"prompt": "q", "completion": "a"}\n')
        with self.hub() as (address, seen):
            for _ in range(2):
                out, err = self.make(*words, "--force", HF_ENDPOINT=address, HF_TOKEN="t")
                self.assertIn("2 records", out)
            self.assertEqual([("/datasets/a/b/resolve/main/in%20file.jsonl", "Bearer t")], seen)
            self.assertEqual("", err)
            _, err = self.make("--hf-repo", "a/b", "--input-file", "c", "--force", status=1, HF_ENDPOINT=address)
            self.assertIn("answers with status 404", err)
        _, err = self.make("--hf-repo", "a/b", "--input-file", "c", "--force", status=1, HF_HUB_OFFLINE="1")
        self.assertIn("HF_HUB_OFFLINE forbids to download it", err)
