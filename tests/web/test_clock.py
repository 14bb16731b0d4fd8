"""Time, as clients tell and move it, in whole ranks."""

import json
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.harness import EPOCH, Exchange, RankTestCase
from vllmsim.api.shapes.clock import ClockState
from vllmsim.clocks.clocks import VIRTUAL_EPOCH
from vllmsim.dataset.sentences import SentenceSource
from vllmsim.embedding import WordEmbedder
from vllmsim.interfaces import IBlockEventPublisher
from vllmsim.scheduling.prompts import PromptReader

PACE = ("--time-to-first-token", "200ms", "--inter-token-latency", "20ms")


@implementer(IBlockEventPublisher)
class Batches:
    """Keeps batches of KV events as they are sent."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Keep one."""
        self.payloads.append(payload)


class ClockCase(RankTestCase):
    """A rank whose clock is moved over HTTP."""

    def move(self, what: str, **fields: Any) -> Exchange:
        """Ask for time to be moved, and have the reactor take some turns."""
        exchange = self.post(f"/admin/clock/{what}", fields)
        self.clock.pump([0.0] * 4)
        return exchange

    def moved(self, what: str, **fields: Any) -> float:
        """Move time, and tell what it is then."""
        exchange = self.move(what, **fields)
        self.assertEqual(200, exchange.status, exchange.body)
        now: float = exchange.json()["now"]
        return now


class VirtualTests(ClockCase):
    """Time that is moved."""

    def test_stream(self) -> None:
        """The tokens of a stream come when the clock has been moved to their time, and not by themselves."""
        self.make_rank("--clock", "virtual", *PACE)
        stream = self.complete(stream=True, max_tokens=3, ignore_eos=True)
        self.clock.advance(10.0)
        self.assertEqual([], stream.events())
        self.assertEqual(0.2, self.moved("advance", seconds=0.2, requests=1))
        self.assertEqual(1, len(stream.events()))
        self.assertEqual(0.21, round(self.moved("advance", seconds=0.01), 9))
        self.assertEqual(1, len(stream.events()))
        self.assertEqual(0.24, round(self.moved("run-until-idle"), 9))
        self.assertEqual("[DONE]", stream.events()[-1])

    def test_told(self) -> None:
        """What is told of a request has virtual times: its answer, its record, metrics of the engine and of HTTP."""
        self.make_rank("--clock", "virtual", *PACE)
        self.moved("advance", seconds=3600.0)
        answer = self.complete(max_tokens=3, ignore_eos=True)
        self.moved("run-until-idle", requests=1)
        self.assertEqual(VIRTUAL_EPOCH + 3600, answer.json()["created"])
        [record] = self.get("/admin/requests").json()["requests"]
        self.assertEqual(VIRTUAL_EPOCH + 3600, record["arrived"])
        self.assertEqual((0.2, 0.24), (record["times"]["first_token"], record["times"]["finished"]))
        for sample in (
            f'vllm:e2e_request_latency_seconds_sum{{engine="0",model_name="{self.configuration.served_names[0]}"}}',
            'http_request_duration_seconds_sum{handler="/v1/completions",method="POST"}',
        ):
            self.assertEqual(0.24, round(self.sample(sample), 6))
        state = TypeAdapter(ClockState).validate_json(self.get("/admin/clock").body)
        self.assertEqual(("virtual", 1, 0), (state["clock"], state["requests"], state["unfinished"]))

    def test_pooling(self) -> None:
        """Vectors take their time on the same clock."""
        self.make_rank("--clock", "virtual", *PACE)
        vector = self.post("/v1/embeddings", {"input": "hello"})
        self.assertEqual(0, vector.status)
        self.assertEqual(0.2, self.moved("run-until-idle", requests=1))
        self.assertEqual(200, vector.status)

    def test_composing(self) -> None:
        """Time waits for an answer that is composed in a thread, so that its first token is due where it would be."""
        waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

        def in_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            waiting.append((Deferred(), function, arguments))
            return waiting[-1][0]

        self.make_rank("--clock", "virtual", *PACE, threads=in_thread)
        schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "integer"}}}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        answer = self.chat(response_format=form)
        moving = self.move("advance", seconds=9.0, requests=1)
        self.assertEqual((0, 0), (moving.status, answer.status))
        while waiting:
            done, function, arguments = waiting.pop()
            done.callback(function(*arguments))
            self.clock.pump([0.0] * 4)
        self.assertEqual((200, 200), (moving.status, answer.status))
        [record] = self.get("/admin/requests").json()["requests"]
        self.assertEqual(0.2, record["times"]["first_token"])

    def test_neighbours(self) -> None:
        """Time waits for prompts and answers that take the machine's time, wherever that is spent."""
        for place, name, words in (
            (PromptReader, "read_all", ()),
            (SentenceSource, "respond", ()),
            (SentenceSource, "respond", ("--scheduling-model", "step", "--step-time-constant", "200ms")),
        ):
            there = self.hold_up(place, name)
            self.make_rank("--clock", "virtual", *PACE, *words)
            answer = self.complete(max_tokens=1)
            moving = self.move("advance", seconds=9.0, requests=1)
            self.assertEqual((0, 0), (moving.status, answer.status))
            there.callback(None)
            self.clock.pump([0.0] * 4)
            self.assertEqual((200, 200), (moving.status, answer.status))
            [record] = self.get("/admin/requests").json()["requests"]
            self.assertEqual(0.2, record["times"]["first_token"])

    def test_vectors_of_neighbours(self) -> None:
        """So it does for vectors, before they have a slot and behind that."""
        for place, name in ((PromptReader, "read_all"), (WordEmbedder, "embed")):
            there = self.hold_up(place, name)
            self.make_rank("--clock", "virtual", *PACE)
            vector = self.post("/v1/embeddings", {"input": "hello"})
            moving = self.move("advance", seconds=9.0, requests=1)
            self.assertEqual((0, 0), (moving.status, vector.status))
            there.callback(None)
            self.clock.pump([0.0] * 4)
            self.assertEqual((200, 200), (moving.status, vector.status))
            [record] = self.get("/admin/requests").json()["requests"]
            self.assertEqual(0.2, record["times"]["finished"])

    def hold_up(self, place: Any, name: str) -> Deferred[None]:
        """Have a method wait for something before it does what it does, once."""
        there: Deferred[None] = Deferred()
        usual = getattr(place, name)

        async def wait(*arguments: Any) -> Any:
            await there
            return await usual(*arguments)

        self.patch(place, name, wait)
        return there

    def test_ranks(self) -> None:
        """All ranks of a process have one time, and their requests are counted together."""
        self.make_ranks("--clock", "virtual", *PACE, "--data-parallel-size", "2", "--data-parallel-internal-lb")
        answers = [self.complete(max_tokens=1) for _ in range(2)]
        self.assertEqual(0.2, self.moved("run-until-idle", requests=2))
        self.assertEqual([200, 200], [answer.status for answer in answers])
        self.assertEqual({0, 1}, {each["rank"] for each in self.get("/admin/requests").json()["requests"]})

    def test_same(self) -> None:
        """The same calls give the same answers, records, metrics and KV events, byte by byte."""
        self.assertEqual(self.live_through(), self.live_through())

    def test_same_steps(self) -> None:
        """So they do where an engine goes in steps, whose times are drawn."""
        steps = (
            *("--scheduling-model", "step", "--step-time-constant", "15ms", "--step-time-jitter", "10"),
            *("--step-time-per-prefill-token", "1ms", "--max-num-batched-tokens", "32"),
        )
        first = self.live_through(*steps)
        self.assertEqual(first, self.live_through(*steps))
        self.assertNotEqual(first, self.live_through())

    def live_through(self, *words: str) -> Any:
        """Have a rank serve some requests at virtual times, and tell all that is seen of it."""
        self.make_rank(
            *("--clock", "virtual", "--max-num-seqs", "2", "--enable-kvcache", "--kv-cache-size", "64"),
            *("--block-size", "8", *PACE, "--inter-token-latency-std-dev", "5ms", "--log-stats-interval", "1s", *words),
        )
        events = Batches()
        assert self.rank.events is not None
        self.rank.events.batcher.join(events)
        sent = []
        for number in range(6):
            prompt = "a prompt that others begin with too " * (2 + number % 3) + str(number)
            sent.append(self.complete(prompt, stream=number % 2 == 0))
            self.moved("advance", seconds=0.11 * number, requests=number + 1)
        end = self.moved("run-until-idle")
        records = self.get("/admin/requests").body
        metrics = [
            line
            for line in self.get("/metrics").body.decode().splitlines()
            if not line.startswith(("process_", "python_", "# "))
        ]
        self.assertGreater(len(events.payloads), 3)
        return end, [answer.body for answer in sent], records, metrics, events.payloads

    def test_scenario(self) -> None:
        """Steps of a scenario, and the end of loading, come in virtual time, and nobody who runs until idle waits."""
        self.make_rank("--clock", "virtual", *PACE, "--startup-duration", "5s")
        steps = [{"at": "1s", "set": {"time-to-first-token": "700ms"}}]
        scenario = {"name": "slow", "duration": "60s", "keep": True, "steps": steps}
        self.assertEqual(200, self.post("/admin/scenario", scenario).status)
        self.assertEqual(0.0, self.moved("run-until-idle"))
        self.assertEqual((1.0, 503), (self.moved("advance", seconds=1.0), self.get("/health/ready").status))
        answer = self.complete(max_tokens=1)
        self.assertAlmostEqual(1.7, self.moved("run-until-idle", requests=1))
        self.assertEqual(200, answer.status)
        self.moved("advance", seconds=3.3)
        self.assertEqual(200, self.get("/health/ready").status)
        self.moved("advance", seconds=60.0)
        self.assertEqual("finished", self.get("/admin/scenario").json()["scenario"]["outcome"])

    def test_limits(self) -> None:
        """What clients may ask for in a minute is counted by the minutes of the clock."""
        self.make_rank("--clock", "virtual", "--rate-limit", '{"requests-per-minute": 60, "burst": "1s"}')
        self.assertEqual([200, 429], [self.complete(max_tokens=1).status for _ in range(2)])
        self.clock.advance(60.0)
        self.assertEqual(429, self.complete(max_tokens=1).status)
        self.moved("advance", seconds=1.0)
        self.assertEqual(200, self.complete(max_tokens=1).status)


class RefusalTests(ClockCase):
    """What cannot be."""

    def test_real(self) -> None:
        """A clock that goes by itself is told, and not moved."""
        self.make_rank()
        self.clock.advance(2.0)
        state = self.get("/admin/clock").json()
        self.assertEqual(("real", 1.0, EPOCH), (state["clock"], state["time_scale"], state["time"]))
        for what in ("advance", "run-until-idle"):
            refused = self.move(what, **({"seconds": 1} if what == "advance" else {}))
            self.assertEqual(409, refused.status)
            self.assertIn("clock: virtual", refused.json()["error"]["message"])

    def test_late(self) -> None:
        """Who waits for requests that do not come is told so when the time limit is over."""
        self.make_rank("--clock", "virtual")
        late = self.move("advance", seconds=1, requests=1, timeout=3)
        self.clock.advance(3.0)
        self.assertEqual((409, True), (late.status, "0 of 1 requests have come" in late.json()["error"]["message"]))

    def test_limit(self) -> None:
        """Requests that have still something to come at the limit are told of."""
        self.make_rank("--clock", "virtual", *PACE)
        self.complete(max_tokens=20, ignore_eos=True)
        over = self.move("run-until-idle", limit=0.3)
        self.assertEqual(409, over.status)
        self.assertIn("1 requests are unfinished", over.json()["error"]["message"])
        self.assertEqual(400, self.post("/admin/clock/advance", {"seconds": -1}).status)
        self.moved("run-until-idle")

    def test_paused(self) -> None:
        """Sequences that stand still have nothing to come, so that time does not go on for them."""
        self.make_rank("--clock", "virtual", *PACE)
        answer = self.complete(max_tokens=2, ignore_eos=True)
        self.post("/pause?mode=keep", {})
        self.assertEqual(0.0, self.moved("run-until-idle"))
        self.assertEqual(1, self.get("/admin/clock").json()["unfinished"])
        self.moved("advance", seconds=5.0)
        self.post("/resume", {})
        self.assertEqual(5.22, round(self.moved("run-until-idle"), 9))
        self.assertEqual(200, answer.status)


class ScaledTests(ClockCase):
    """Time that goes ten times as fast."""

    def test_stream(self) -> None:
        """Tokens come after a tenth of their time, and what is told of it is the whole."""
        self.make_rank("--time-scale", "10", *PACE)
        answer = self.complete(max_tokens=6, ignore_eos=True)
        self.clock.advance(0.029)
        self.assertEqual(0, answer.status)
        self.clock.advance(0.002)
        self.assertEqual(200, answer.status)
        [record] = self.get("/admin/requests").json()["requests"]
        self.assertEqual(0.31, round(record["times"]["finished"], 6))
        state = self.get("/admin/clock").json()
        self.assertEqual(("real", 10.0, 0.31), (state["clock"], state["time_scale"], round(state["now"], 6)))
        self.assertEqual(EPOCH + 0.31, json.loads(self.get("/admin/clock").body)["time"])
