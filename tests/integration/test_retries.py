"""What the official SDKs do about each fault: measured here, and told in docs/failures.rst.

When a release of an SDK does something else, the tests that fail print the table as it is now.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
from attrs import frozen

from tests.integration.daemon import ROOT, DaemonTestCase

WORDS = "one two three four five"
HI: Any = [{"role": "user", "content": WORDS}]
DOCUMENT = Path(ROOT, "docs", "failures.rst")
_PATIENCE = 15.0
_SHORT = 1.0
"""Seconds for which a client waits for anything in cases that are about that, and in others."""
_JITTER = 0.75
"""The share of its usual wait after which an SDK may try again."""


@frozen(eq=False)
class Case:
    """A fault, and what clients do about it.

    :param name: what the table calls it.
    :param rule: its members.
    :param waits: seconds that clients wait before each further attempt.
    :param impatient: whether clients give up waiting.
    """

    name: str
    rule: dict[str, Any]
    waits: tuple[float, ...] = ()
    impatient: bool = False

    @property
    def key(self) -> str:
        """What requests say in a header to meet it."""
        return self.name.replace("``", "").replace(" ", "-").replace(",", "")


BACKOFF = (0.5, 1.0)
CASES = (
    Case("``status: 503``", {"status": 503}, BACKOFF),
    Case("``status: 503``, once", {"status": 503, "times": 1}, BACKOFF[:1]),
    Case("``retry-after: 2``, once", {"type": "rate_limit", "retry-after": 2, "times": 1}, (2.0,)),
    Case("``status: 408``, once", {"status": 408, "times": 1}, BACKOFF[:1]),
    Case("``status: 409``, once", {"status": 409, "times": 1}, BACKOFF[:1]),
    Case("``type: invalid_request``", {"type": "invalid_request"}),
    Case("``type: invalid_api_key``", {"type": "invalid_api_key"}),
    Case("``type: model_not_found``", {"type": "model_not_found"}),
    Case("``status: 403``", {"status": 403}),
    Case("``status: 422``", {"status": 422}),
    Case("``reset``", {"reset": True}, BACKOFF),
    Case("``reset``, once", {"reset": True, "times": 1}, BACKOFF[:1]),
    Case("``first-token``, late", {"first-token": "60s"}, BACKOFF, impatient=True),
    Case("``stall: 3``", {"stall": 3}, BACKOFF, impatient=True),
    Case("``cut: 3``", {"cut": 3}, BACKOFF),
    Case("``truncate: 3``", {"truncate": 3}, BACKOFF),
    Case("``truncate``, then end", {"truncate": {"tokens": 3, "then": "end"}}),
    Case("``malformed: 3``", {"malformed": 3}),
    Case("``done: missing``", {"done": "missing"}),
    Case("``done: twice``", {"done": "twice"}),
)


@frozen
class Sdk:
    """One SDK.

    :param name: what the document calls it.
    :param route: where its requests go.
    :param connect: makes a client of a daemon's address.
    :param ask: asks for an answer, with a client, and counts the pieces of a stream, or tells what a whole one says.
    """

    name: str
    route: str
    connect: Callable[[str], Any]
    ask: Callable[[Any, bool, list[str]], Awaitable[None]]


async def ask_openai(client: Any, stream: bool, said: list[str]) -> None:
    """Ask for a chat completion."""
    answer = await client.chat.completions.create(model="m", messages=HI, stream=stream)
    if not stream:
        said += answer.choices[0].message.content.split()
        return
    async for chunk in answer:
        said += (chunk.choices[0].delta.content or "").split()


async def ask_anthropic(client: Any, stream: bool, said: list[str]) -> None:
    """Ask for a message."""
    answer = await client.messages.create(model="m", max_tokens=50, messages=HI, stream=stream)
    if not stream:
        said += answer.content[0].text.split()
        return
    async for event in answer:
        if event.type == "content_block_delta":
            said += event.delta.text.split()


SDKS = (
    Sdk(
        "openai", "/v1/chat/completions", lambda url: openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x"), ask_openai
    ),
    Sdk("anthropic", "/v1/messages", lambda url: anthropic.AsyncAnthropic(base_url=url, api_key="x"), ask_anthropic),
)


def rules() -> list[dict[str, Any]]:
    """Make the rules of all cases."""
    return [
        {
            "name": f"{sdk.name} {case.key} {stream}",
            "route": sdk.route,
            "header": {"x-case": case.key},
            "stream": stream,
            **case.rule,
        }
        for sdk in SDKS
        for case in CASES
        for stream in (False, True)
        if stream or "done" not in case.rule
    ]


def named(error: Exception) -> str:
    """Name an error as its users do, its package before it unless that is the SDK."""
    package = type(error).__module__.partition(".")[0]
    return type(error).__name__ if package in {sdk.name for sdk in SDKS} else f"{package}.{type(error).__name__}"


class RetryTests(DaemonTestCase):
    """Both SDKs meet all faults at the same time, so that nobody waits for long."""

    words = ("--model", "m", "--mode", "echo", "--inter-token-latency", "5ms", "--max-num-seqs", "200",
             "--failure-rules", json.dumps(rules()))  # fmt: skip

    async def _meet(self, sdk: Sdk, case: Case, stream: bool, client: Any) -> str:
        said: list[str] = []
        mine = client.with_options(timeout=_SHORT if case.impatient else _PATIENCE, max_retries=2)
        mine = mine.with_options(default_headers={"x-case": case.key})
        begun = time.monotonic()
        try:
            await sdk.ask(mine, stream, said)
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises is what the table tells
            end = f"``{named(error)}``"
        else:
            end = "" if said == WORDS.split() else "no error"
        self._took[sdk.name, case.key, stream] = time.monotonic() - begun
        if not end:
            return "the answer"
        return f"{len(said)} tokens, then {end}" if said else end

    async def _meet_all(self) -> dict[tuple[str, str, bool], str]:
        async def serve(sdk: Sdk) -> list[tuple[tuple[str, str, bool], str]]:
            async with sdk.connect(self.daemon.url()) as client:
                met = [
                    (case, stream) for case in CASES for stream in (False, True) if stream or "done" not in case.rule
                ]
                outcomes = await asyncio.gather(*(self._meet(sdk, case, stream, client) for case, stream in met))
                return [((sdk.name, case.key, stream), o) for (case, stream), o in zip(met, outcomes, strict=True)]

        return dict(each for served in await asyncio.gather(*map(serve, SDKS)) for each in served)

    def _sent(self, sdk: Sdk) -> dict[tuple[Case, bool], int]:
        """Count the requests of an SDK, those that were answered among them."""
        tallies = {rule["name"]: rule["matched"] for rule in json.loads(self.daemon.get("/admin/failures"))["rules"]}
        return {
            (case, stream): tallies.get(f"{sdk.name} {case.key} {stream}", 0)
            for case in CASES
            for stream in (False, True)
        }

    def _table(self, sdk: Sdk, outcomes: dict[tuple[str, str, bool], str]) -> str:
        """Write what an SDK did, as the document has it."""
        sent = self._sent(sdk)
        rows = [("fault", "sent", "a whole answer", "sent", "a stream")]
        for case in CASES:
            cells = [
                (str(sent[case, stream]), outcomes[sdk.name, case.key, stream])
                if (sdk.name, case.key, stream) in outcomes
                else ("", "")
                for stream in (False, True)
            ]
            rows.append((case.name, *cells[0], *cells[1]))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        rule = "  ".join("=" * width for width in widths)
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([rule, lines[0], rule, *lines[1:], rule])

    def test_documented(self) -> None:
        """What each SDK does is what the document says, and between attempts it waits as long as that says."""
        self._took: dict[tuple[str, str, bool], float] = {}
        outcomes = asyncio.run(self._meet_all())
        document = DOCUMENT.read_text("utf-8")
        for sdk in SDKS:
            table = self._table(sdk, outcomes)
            self.assertIn(table, document, f"what {sdk.name} does now:\n\n{table}\n")
            for (case, stream), sent in self._sent(sdk).items():
                if sent:
                    least = _JITTER * sum(case.waits[: sent - 1])
                    self.assertLessEqual(least, self._took[sdk.name, case.key, stream], (sdk.name, case.name, stream))
