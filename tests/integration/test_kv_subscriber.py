"""Subscribers to KV events, from outside: what they know of a server's cache is what is there.

KV_EVENTS in the environment says how many events those take that see many; 10,000 take a few seconds.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, ClassVar

from attrs import define, field

from tests.integration.daemon import PATIENCE, ROOT, DaemonTestCase, free_port, until
from tests.integration.kv_hashes import Fnv64Cbor, Sha256Cbor
from tests.integration.kv_subscriber import Picture, Subscriber, kept

ENOUGH = int(os.environ.get("KV_EVENTS", "10000"))
WINDOW = 10 * ENOUGH
"""Batches, more than there will be: each test begins with the first."""
MODEL = "org/m"
ADAPTERS = {"ad1": "/adapters/one", "ad2": "/adapters/two"}
BLOCK = 16
USUAL = (
    *("--model", MODEL, "--enable-kvcache", "--kv-cache-size", "256", "--block-size", str(BLOCK)),
    *("--max-model-len", "2048", "--enable-prompt-tokens-details", "--enable-lora", "--max-loras", "4"),
    *(word for name, path in ADAPTERS.items() for word in ("--lora-modules", f"{name}={path}")),
)


@define(eq=False)
class Conversation:
    """What somebody has said so far, and to whom."""

    ids: list[int]
    adapter: str | None
    salt: str | None


@define(eq=False)
class Talk:
    """Requests whose prompts begin alike, as those of many conversations do.

    :param salts: whether some have a salt.
    """

    _port: int
    _generator: random.Random
    _salts: bool = True
    _conversations: list[Conversation] = field(factory=list)
    _connection: HTTPConnection = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)

    def close(self) -> None:
        """Say no more."""
        self._connection.close()

    def choose(self) -> Conversation:
        """Begin a conversation, go on with one, or go back in one, at times to the end of a block."""
        generator = self._generator
        if not self._conversations or generator.random() < 0.3:
            salt = generator.choice(["salty", "sweet"]) if self._salts and generator.random() < 0.3 else None
            adapter = generator.choice([None, None, None, *ADAPTERS])
            chosen = Conversation([generator.randrange(3, 5000)], adapter, salt)
            self._conversations.append(chosen)
            del self._conversations[:-12]
        else:
            chosen = generator.choice(self._conversations)
        if generator.random() < 0.2:
            del chosen.ids[max(1, generator.randrange(len(chosen.ids) + 1) // BLOCK * BLOCK) :]
        if generator.random() < 0.7:
            chosen.ids += (generator.randrange(3, 5000) for _ in range(generator.choice([1, 15, 16, 17, 100, 333])))
        del chosen.ids[1500:]
        return chosen

    def say(self, conversation: Conversation) -> dict[str, Any]:
        """Send the conversation, and remember the answer."""
        body = {
            "model": conversation.adapter or MODEL,
            "prompt": conversation.ids,
            "max_tokens": self._generator.choice([1, 2, 17, 40]),
            "ignore_eos": True,
            "return_token_ids": True,
        }
        if conversation.salt:
            body["cache_salt"] = conversation.salt
        self._connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status != 200:
            raise AssertionError(answer)
        conversation.ids += answer["choices"][0]["token_ids"]
        return answer


class EventsTestCase(DaemonTestCase):
    """Tests with a daemon that publishes."""

    more: ClassVar[tuple[str, ...]] = ()
    maps = False
    flush_interval = 0.03
    """Longer than events wait for others, in seconds."""
    endpoint: ClassVar[str]
    replay_endpoint: ClassVar[str]

    @classmethod
    def options(cls) -> Sequence[str]:
        """Make the words that say where events go."""
        return "--zmq-endpoint", cls.endpoint, "--kv-events-replay-endpoint", cls.replay_endpoint

    @classmethod
    def setUpClass(cls) -> None:
        """Start it on free ports."""
        port = free_port(4)
        cls.endpoint, cls.replay_endpoint = f"tcp://*:{port}", f"tcp://*:{port + 2}"
        cls.words = (*USUAL, *cls.options(), *cls.more)
        super().setUpClass()

    @classmethod
    def here(cls, endpoint: str, rank: int = 0) -> str:
        """Find the address of an endpoint, from here."""
        return f"tcp://127.0.0.1:{int(endpoint.rpartition(':')[2]) + rank}"

    def subscribe(self, picture: Picture, rank: int = 0, topic: bytes = b"") -> Subscriber:
        """Begin to listen, from the first batch on."""
        subscriber = Subscriber(
            picture, self.here(self.endpoint, rank), self.here(self.replay_endpoint, rank), topic=topic
        )
        self.addCleanup(subscriber.close)
        subscriber.catch_up()
        return subscriber

    def samples(self, port: int | None = None) -> dict[str, float]:
        """Read ``/metrics``, without the labels that all have."""
        connection = HTTPConnection("127.0.0.1", port or self.daemon.port, timeout=PATIENCE)
        connection.request("GET", "/metrics")
        found = {}
        for line in connection.getresponse().read().decode().splitlines():
            if line.startswith(("vllm:", "vllmsim:")):
                name, _, value = line.rpartition(" ")
                name, _, labels = name.partition("{")
                others = [each for each in labels.rstrip("}").split(",") if not each.startswith(("engine=", "model_"))]
                found[name + "".join(others)] = float(value)
        connection.close()
        return found

    def published(self) -> int:
        """Tell how many batches were published."""
        return int(self.samples()["vllmsim:kv_event_batches_total"])

    def settle(self, subscriber: Subscriber, port: int | None = None) -> dict[str, float]:
        """Have a subscriber take all that was published; nothing happens in the server any more.

        :return: the server's samples.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            time.sleep(self.flush_interval)
            samples = self.samples(port)
            while subscriber.picture.events < samples["vllmsim:kv_events_total"] and time.monotonic() < deadline:
                subscriber.read(200)
                subscriber.catch_up()
            again = self.samples(port)
            if again["vllmsim:kv_events_total"] == samples["vllmsim:kv_events_total"]:
                return again
            self.assertLess(time.monotonic(), deadline)

    def assertSame(self, samples: dict[str, float], picture: Picture) -> None:
        """Compare the server's numbers with a subscriber's, who has missed nothing."""
        self.assertEqual(0, picture.lost)
        expected = {
            'vllmsim:kv_blocksstate="cached"': picture.blocks.total(),
            'vllmsim:kv_blocksstate="used"': 0,
            "vllm:kv_cache_usage_perc": 0,
            "vllmsim:kv_events_total": picture.events,
            "vllmsim:kv_event_batches_total": picture.next,
            "vllmsim:kv_events_dropped_total": 0,
        }
        self.assertEqual(expected, {name: samples[name] for name in expected})

    def request(self, path: str, **fields: str) -> bytes:
        """Send a POST request."""
        connection = HTTPConnection("127.0.0.1", self.daemon.port, timeout=PATIENCE)
        connection.request("POST", path, json.dumps(fields), {"Content-Type": "application/json"})
        answer = connection.getresponse().read()
        connection.close()
        return answer

    def reset(self) -> None:
        """Forget everything."""
        self.assertEqual(b'{"success":true}', self.request("/reset_prefix_cache"))

    def reload(self, name: str) -> None:
        """Serve an adapter no more, and then again."""
        self.assertIn(b"removed", self.request("/v1/unload_lora_adapter", lora_name=name))
        self.assertIn(b"added", self.request("/v1/load_lora_adapter", lora_name=name, lora_path=ADAPTERS[name]))


class _Forms:
    """What both encodings must show, with batches that leave in the turn in which they are made."""

    flush_interval = 0.0

    chain: ClassVar[Any]
    salts: ClassVar[bool]

    def test_steps(self: Any) -> None:
        """After each request a subscriber knows how many blocks are cached, and knew what of the prompt would be."""
        picture = Picture(maps=self.maps, check=self.chain.check)
        subscriber = self.subscribe(picture)
        self.settle(subscriber)
        talk = Talk(self.daemon.port, random.Random(1), self.salts)
        self.addCleanup(talk.close)
        before = self.samples()
        queries = hits = 0
        for step in range(150):
            if step % 40 == 39:
                self.reset()
            if step % 40 == 20:
                self.reload("ad2")
            said = talk.choose()
            length = len(said.ids)
            self.settle(subscriber)
            found = 0
            for number in self.chain.chain(said.ids[: (length - 1) // BLOCK * BLOCK], BLOCK, said.adapter, said.salt):
                if number not in picture.blocks:
                    break
                found += BLOCK
            answer = talk.say(said)
            self.assertEqual(found, answer["usage"]["prompt_tokens_details"]["cached_tokens"], step)
            queries, hits = queries + length, hits + found
            self.assertSame(self.settle(subscriber), picture)
        after = self.samples()
        for name, expected in (("queries", queries), ("hits", hits)):
            counter = f"vllm:prefix_cache_{name}_total"
            self.assertEqual(expected, after[counter] - before[counter], name)
        self.assertGreater(hits, queries / 10)
        self.assertEqual({"BlockStored", "BlockRemoved", "AllBlocksCleared"}, set(picture.kinds))

    def test_load(self: Any) -> None:
        """Ten thousand events of clients side by side leave a picture that is the server's; no hash is wrong."""
        picture = Picture(maps=self.maps, check=self.chain.check)
        subscriber = self.subscribe(picture)
        self.settle(subscriber)
        talks = [Talk(self.daemon.port, random.Random(seed), self.salts) for seed in range(4)]
        for talk in talks:
            self.addCleanup(talk.close)
        begin = picture.events

        def talk_on(talk: Talk) -> None:
            for _ in range(8):
                talk.say(talk.choose())

        with ThreadPoolExecutor(len(talks)) as pool:
            for turn in range(10**6):
                talking = [pool.submit(talk_on, talk) for talk in talks]
                while not all(each.done() for each in talking):
                    subscriber.read(10)
                for each in talking:
                    each.result()
                self.assertSame(self.settle(subscriber), picture)
                if picture.events - begin >= ENOUGH:
                    break
                if turn % 5 == 4:
                    self.reset()
        self.assertEqual((0, {0}), (picture.lost, picture.ranks))
        self.assertGreater(picture.kinds["BlockRemoved"], 0)


class ArrayTests(_Forms, EventsTestCase):
    """Arrays, and llm-d's hashes."""

    more = (
        *("--prefix-caching-hash-algo", "fnv64_cbor", "--hash-seed", "42"),
        *("--event-flush-interval", "0", "--kv-events-replay-queue-size", str(WINDOW)),
    )
    chain = Fnv64Cbor(MODEL, "42")
    salts = False


class MapTests(_Forms, EventsTestCase):
    """Maps, as vLLM's own option asks for them, and vLLM's hashes."""

    more = ("--prefix-caching-hash-algo", "sha256_cbor", "--event-flush-interval", "0")
    maps = True
    chain = Sha256Cbor(ADAPTERS)
    salts = True

    @classmethod
    def options(cls) -> Sequence[str]:
        """Say it in vLLM's form."""
        config = {
            "enable_kv_cache_events": True,
            "endpoint": cls.endpoint,
            "replay_endpoint": cls.replay_endpoint,
            "buffer_steps": WINDOW,
        }
        return "--kv-events-config", json.dumps(config)


class KillingTestCase(EventsTestCase):
    """Tests with a subscriber that is killed, and another that goes on in its place."""

    more = ("--kv-events-replay-queue-size", "1000", "--event-batch-size", "8")

    def setUp(self) -> None:
        """Make room for what it keeps."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "batches"

    def listen(self) -> "subprocess.Popen[str]":
        """Start it."""
        words = [self.here(self.endpoint), self.here(self.replay_endpoint), "arrays", str(self.file)]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.kv_subscriber", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        # Its first line: it has caught up with what there was before.
        self.first = [int(word) for word in process.stdout.readline().split()]
        return process

    def kept(self) -> list[int]:
        """Read the numbers of the batches that it has taken."""
        return [number for number, _ in kept(self.file)]

    def until_more(self, count: Callable[[], int], more: int) -> None:
        """Wait until there is more of something than now."""
        enough = count() + more
        until(lambda: count() > enough)


class KilledTests(KillingTestCase):
    """One that comes back soon."""

    def test_within(self) -> None:
        """One that is killed in the middle of a load and started again loses nothing that is in the window."""
        stop = Event()

        def talk_on(seed: int) -> None:
            talk = Talk(self.daemon.port, random.Random(seed))
            while not stop.is_set():
                talk.say(talk.choose())
                stop.wait(0.02)
            talk.close()

        with ThreadPoolExecutor(2) as pool:
            talking = [pool.submit(talk_on, seed) for seed in (11, 12)]
            try:
                for _ in range(4):
                    subscriber = self.listen()
                    self.until_more(lambda: len(self.kept()), 30)
                    subscriber.kill()
                    subscriber.wait()
                    self.until_more(self.published, 20)
                self.listen()
            finally:
                stop.set()
            for each in talking:
                each.result()
        published = -1
        while published != (published := self.published()):
            time.sleep(0.1)
        until(lambda: len(self.kept()) == published)
        self.assertEqual(list(range(published)), self.kept())
        picture = Picture(maps=False)
        for number, payload in kept(self.file):
            picture.take(number, payload)
        self.assertEqual(0, picture.lost)
        self.assertSame(self.samples(), picture)


class KilledForLongTests(KillingTestCase):
    """One that comes back too late."""

    def test_beyond(self) -> None:
        """One that comes back when its place is out of the window knows how much it has lost."""
        talk = Talk(self.daemon.port, random.Random(21))
        self.addCleanup(talk.close)
        talk.say(talk.choose())
        subscriber = self.listen()
        talk.say(talk.choose())
        until(lambda: len(self.kept()) == self.published())
        subscriber.kill()
        subscriber.wait()
        heard = self.kept()[-1] + 1
        while self.published() < heard + 1100:
            for _ in range(50):
                talk.say(talk.choose())
        time.sleep(0.1)
        published = self.published()
        self.listen()
        until(lambda: self.kept()[-1] + 1 == published)
        self.assertEqual([published, published - 1000 - heard], self.first)


class RanksTests(EventsTestCase):
    """Two data-parallel ranks."""

    more: ClassVar[tuple[str, ...]] = ("--data-parallel-size", "2", "--use-vllm-map-event-format")

    def check(self, rank: int) -> None:
        """See what one rank publishes."""
        port = self.daemon.port + rank
        picture = Picture(maps=True)
        subscriber = self.subscribe(picture, rank, b"kv@")
        talk = Talk(port, random.Random(rank))
        self.addCleanup(talk.close)
        for _ in range(10):
            talk.say(talk.choose())
        samples = self.settle(subscriber, port)
        self.assertSame(samples, picture)
        self.assertGreater(picture.events, 0)
        self.assertEqual(({rank}, 0), (picture.ranks, picture.lost))
        self.assertEqual({f"kv@localhost:{port}@{MODEL}".encode()}, subscriber.topics)

    def test_ranks(self) -> None:
        """Each has its ports, its topic, its number in batches, and batches of its own from 0 on."""
        for rank in (0, 1):
            self.check(rank)
        sources = json.loads(self.daemon.get("/kv_event_sources"))
        self.assertEqual({"0", "1"}, set(sources))
        for rank in (0, 1):
            for name, endpoint in (("endpoint", self.endpoint), ("replay_endpoint", self.replay_endpoint)):
                self.assertEqual(
                    self.here(endpoint, rank).rpartition(":")[2], sources[str(rank)][name].rpartition(":")[2]
                )


class ProcessRanksTests(RanksTests):
    """The same with a process for each."""

    more = (*RanksTests.more, "--data-parallel-processes", "--data-parallel-supervisor-port", str(free_port()))


class ExampleTests(EventsTestCase):
    """The example that prints events."""

    more = ("--kv-events-replay-queue-size", "10")

    def test_picture(self) -> None:
        """It knows what was before it came, if that is kept, and what comes then, and says what is lost."""
        talk = Talk(self.daemon.port, random.Random(31))
        self.addCleanup(talk.close)
        while self.published() < 13:
            talk.say(talk.choose())
            time.sleep(self.flush_interval)
        lost = self.published() - 11
        words = [self.here(self.endpoint), self.here(self.replay_endpoint)]
        script = str(ROOT / "examples" / "kv_subscriber.py")
        example = subprocess.Popen([sys.executable, "-u", script, *words], stdout=subprocess.PIPE, text=True)
        assert example.stdout is not None
        self.addCleanup(example.stdout.close)
        self.addCleanup(example.wait)
        self.addCleanup(example.kill)
        self.assertEqual(f"batches 0 to {lost} are lost\n", example.stdout.readline())
        self.reset()
        talk.say(talk.choose())
        time.sleep(self.flush_interval)
        samples = self.samples()
        line, last = "", int(samples["vllmsim:kv_event_batches_total"]) - 1
        cached = int(samples['vllmsim:kv_blocksstate="cached"'])
        while not (line.startswith(f"{last} ") and line.endswith(f": {cached} blocks are cached\n")):
            line = example.stdout.readline()
            self.assertNotIn("lost", line)
            self.assertNotEqual("", line)


class StartTests(DaemonTestCase):
    """Where a replay endpoint is, and where it cannot be."""

    words = (*USUAL, "--zmq-endpoint", "tcp://127.0.0.1:*", "--kv-events-replay-endpoint", "tcp://127.0.0.1:*")

    def test_free(self) -> None:
        """Endpoints with a free port tell which one they got; the replay endpoint is bound there."""
        source = json.loads(self.daemon.get("/kv_event_sources"))["0"]
        picture = Picture(maps=False)
        subscriber = Subscriber(picture, source["endpoint"], source["replay_endpoint"])
        self.addCleanup(subscriber.close)
        talk = Talk(self.daemon.port, random.Random(41))
        self.addCleanup(talk.close)
        while not picture.events:
            talk.say(talk.choose())
            time.sleep(0.03)
            subscriber.catch_up()

    def test_taken(self) -> None:
        """A replay endpoint that somebody else has ends the start with a line that says so."""
        taken = json.loads(self.daemon.get("/kv_event_sources"))["0"]["replay_endpoint"]
        words = ("--enable-kvcache", "--zmq-endpoint", "tcp://127.0.0.1:*", "--kv-events-replay-endpoint", taken)
        daemon = self.start(*words)
        self.assertEqual(1, daemon.process.wait(PATIENCE))
        self.assertIn(f"vllmsim: cannot listen on {taken!r}: Address already in use\n", daemon.output())
