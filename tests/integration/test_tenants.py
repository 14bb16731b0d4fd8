"""Tenants and their limits, with real clients."""

import json
import subprocess
import time
import urllib.request
from typing import Any

import anthropic
import openai

from tests.integration.daemon import ROOT, Daemon, DaemonTestCase

MODEL = "Qwen/Qwen3-0.6B"
HI: Any = [{"role": "user", "content": "hello"}]
ONE_A_SECOND = {"requests-per-minute": 60, "burst": "1s"}


class LimitTests(DaemonTestCase):
    """What clients do about limits."""

    def change(self, **options: Any) -> Daemon:
        """Change the daemon's options, as no test before has left them."""
        everything = {"rate-limit": {}, "api-key": []} | {name.replace("_", "-"): v for name, v in options.items()}
        request = urllib.request.Request(self.daemon.url("/admin/config"), json.dumps(everything).encode())
        with urllib.request.urlopen(request) as answer:
            self.assertEqual(200, answer.status)
        return self.daemon

    def test_openai(self) -> None:
        """OpenAI's SDK waits as long as it is told, tries again, and has its answer."""
        daemon = self.change(api_key=["sk-a"], rate_limit=ONE_A_SECOND)
        client = openai.OpenAI(base_url=daemon.url("/v1"), api_key="sk-a", max_retries=1)
        began = time.monotonic()
        for _ in range(2):
            self.assertTrue(client.chat.completions.create(model=MODEL, messages=HI, max_tokens=1).choices)
        self.assertGreater(time.monotonic() - began, 0.9)
        hasty = client.with_options(max_retries=0)
        error = self.assertRaises(
            openai.RateLimitError, hasty.chat.completions.create, model=MODEL, messages=HI, max_tokens=1
        )
        self.assertEqual(("requests", "rate_limit_exceeded"), (error.type, error.code))
        self.assertEqual("0", error.response.headers["x-ratelimit-remaining-requests"])
        stranger = openai.OpenAI(base_url=daemon.url("/v1"), api_key="sk-b")
        self.assertRaises(openai.AuthenticationError, stranger.models.list)

    def test_hopeless(self) -> None:
        """Neither SDK tries again what can never be."""
        daemon = self.change(rate_limit={"tokens-per-minute": 100})
        for client, error in (
            (openai.OpenAI(base_url=daemon.url("/v1"), api_key="x").chat.completions.create, openai.RateLimitError),
            (anthropic.Anthropic(base_url=daemon.url(), api_key="x").messages.create, anthropic.RateLimitError),
        ):
            self.assertRaises(error, client, model=MODEL, messages=HI, max_tokens=1000)
        told = json.loads(daemon.get("/admin/requests?order=desc&limit=3"))["requests"]
        self.assertEqual(["tokens", "tokens"], [each["error"]["type"] for each in told if each["status"] == 429])

    def test_anthropic(self) -> None:
        """Anthropic's SDK does the same."""
        daemon = self.change(rate_limit=ONE_A_SECOND)
        client = anthropic.Anthropic(base_url=daemon.url(), api_key="x", max_retries=1)
        began = time.monotonic()
        for _ in range(2):
            client.messages.create(model=MODEL, messages=HI, max_tokens=1)
        self.assertGreater(time.monotonic() - began, 0.9)

    def test_example(self) -> None:
        """The example does what it says."""
        daemon = self.start("--config", "examples/tenants.yaml")
        daemon.wait()
        told = subprocess.run(
            ["examples/tenants.sh", daemon.url()], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
        ).stdout.splitlines()
        statuses = [line.split()[1] for line in told if line.startswith("HTTP")]
        self.assertEqual("401 200 200 200 429 200 200 503 200 429 200 200", " ".join(statuses))
        remembered = [line.split()[1:] for line in told if line[:1].isdigit() and " " in line]
        self.assertEqual([["200", "completed"]] * 3 + [["429", "refused"]], remembered)
