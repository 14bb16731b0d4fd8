"""Where KV events go."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.events import (
    EventsConfig,
    EventSettings,
    batch_settings,
    binds,
    endpoint_of_rank,
    event_doubt,
    event_settings,
    is_found,
    parse_events_config,
)
from vllmsim.config.schema import Configuration


def configured(*words: str, **environ: str) -> Configuration:
    """Read a command line."""
    return load_words(("--model", "org/m", *words), environ).configuration


class EndpointTests(SynchronousTestCase):
    """What is made of an endpoint."""

    def test_binds(self) -> None:
        """Stars, ``::``, paths and names are bound; an address is connected to."""
        for endpoint in ("tcp://*:5557", "tcp://:::5557", "tcp://[::]:1", "ipc:///run/x", "inproc://x"):
            self.assertTrue(binds(endpoint), endpoint)
        for endpoint in ("tcp://127.0.0.1:5557", "tcp://epp-svc:5557", "tcp://0.0.0.0:1"):
            self.assertFalse(binds(endpoint), endpoint)

    def test_found(self) -> None:
        """Without a port, and without a path, the system finds one."""
        for endpoint in ("tcp://*:0", "tcp://[::]:*", "tcp://127.0.0.1:00", "ipc://*"):
            self.assertTrue(is_found(endpoint), endpoint)
        for endpoint in ("tcp://*:5557", "tcp://[::]:10", "ipc:///run/x", "inproc://x"):
            self.assertFalse(is_found(endpoint), endpoint)

    def test_ranks(self) -> None:
        """Ports count up with ranks, other endpoints get the rank's number, and free ports stay free ports."""
        for endpoint, number, expected in (
            ("tcp://*:5557", 0, "tcp://*:5557"),
            ("tcp://*:5557", 3, "tcp://*:5560"),
            ("tcp://[::1]:5557", 1, "tcp://[::1]:5558"),
            ("tcp://*:0", 3, "tcp://*:0"),
            ("tcp://*:*", 3, "tcp://*:*"),
            ("tcp://epp{rank}:80", 3, "tcp://epp3:83"),
            ("inproc://x", 0, "inproc://x"),
            ("inproc://x", 2, "inproc://x_dp2"),
            ("ipc:///run/x", 0, "ipc:///run/x"),
            ("ipc:///run/x{rank}", 2, "ipc:///run/x2"),
            ("", 2, ""),
        ):
            self.assertEqual(expected, endpoint_of_rank(endpoint, number))

    def test_wrong(self) -> None:
        """What cannot be an endpoint, or not that of a further rank, is told."""
        for endpoint, number, fault in (
            ("localhost:5557", 0, "is none of tcp://HOST:PORT, ipc://PATH and inproc://NAME"),
            ("tcp://localhost", 0, "is none of"),
            ("tcp://:1", 0, "is none of"),
            ("http://x:1", 0, "is none of"),
            ("ipc://", 0, "is none of"),
            ("ipc:///run/x", 1, "cannot be that of rank 1 too; put {rank} in it"),
            ("tcp://*:65535", 1, "leaves no port for rank 1"),
            ("tcp://*:65536", 0, "leaves no port for rank 0"),
            ("tcp://*:" + 5000 * "1", 0, "is none of"),
        ):
            error = self.assertRaises(ValueError, endpoint_of_rank, endpoint, number)
            self.assertIn(fault, str(error))


class SettingsTests(SynchronousTestCase):
    """What a rank is told."""

    def settings(self, *words: str, number: int = 0, **environ: str) -> EventSettings:
        """Find a rank's settings, which it must have."""
        settings = event_settings(configured(*words, **environ), number)
        assert settings is not None
        return settings

    def test_flat(self) -> None:
        """With a KV cache, events go where llm-d-inference-sim sends them, as arrays."""
        expected = EventSettings(
            endpoint="tcp://127.0.0.1:5557",
            replay_endpoint="",
            buffer_steps=1024,
            hwm=10_000,
            max_queue_size=100_000,
            topic="kv@localhost:8000@org/m",
            maps=False,
            batch_size=16,
            flush_interval=0.01,
            int_hashes=True,
            connect_attempts=0,
        )
        self.assertEqual(expected, self.settings("--enable-kvcache"))

    def test_flat_options(self) -> None:
        """Every flat option is heard, and each rank has its own endpoints and topic."""
        words = """
            --enable-kvcache --zmq-endpoint tcp://*:6000 --kv-events-replay-endpoint tcp://*:7000 -dp 4
            --kv-events-replay-queue-size 5 --event-high-water-mark 6 --event-batch-size 7 --event-flush-interval 8ms
            --use-vllm-map-event-format --zmq-max-connect-attempts 9 --served-model-name a b --port 9000
        """
        expected = EventSettings(
            endpoint="tcp://*:6002",
            replay_endpoint="tcp://*:7002",
            buffer_steps=5,
            hwm=6,
            max_queue_size=100_000,
            topic="kv@10.0.0.1:9002@a",
            maps=True,
            batch_size=7,
            flush_interval=0.008,
            int_hashes=False,
            connect_attempts=9,
        )
        environ = {"POD_IP": "10.0.0.1", "VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES": "0"}
        self.assertEqual(expected, self.settings(*words.split(), number=2, **environ))

    def test_topic(self) -> None:
        """A topic of one's own may name the rank, and what is in braces otherwise stays as it is."""
        words = ("--enable-kvcache", "-dp", "8", "-dpn", "3", "--kv-events-topic", "{rank}/{model}:{port}:{x}{ip}")
        self.assertEqual("3/org/m:8000:{x}localhost", self.settings(*words, number=3).topic)

    def test_off(self) -> None:
        """Nothing is told without a KV cache, without an endpoint, and where vLLM's form does not ask for it."""
        for words in (
            [],
            ["--enable-kvcache", "--zmq-endpoint", ""],
            ["--enable-kvcache", "--kv-events-config", "{}"],
            ["--enable-kvcache", "--kv-events-config", '{"publisher":"zmq"}'],
            ["--enable-kvcache", "--kv-events-config", '{"enable_kv_cache_events":true,"publisher":"null"}'],
        ):
            self.assertIsNone(event_settings(configured(*words), 0), words)

    def test_unpublished(self) -> None:
        """Without an endpoint batches are made all the same for who reads them here; not where events are off."""
        settings = batch_settings(configured("--enable-kvcache", "--zmq-endpoint", "", "--event-batch-size", "9"), 0)
        assert settings is not None
        self.assertEqual(("", 9, 1024), (settings.endpoint, settings.batch_size, settings.buffer_steps))
        for words in (
            [],
            ["--enable-kvcache", "--no-enable-prefix-caching"],
            ["--enable-kvcache", "--kv-events-config", "{}"],
            ["--enable-kvcache", "--zmq-endpoint", "", "--kv-events-publisher", "null"],
        ):
            self.assertIsNone(batch_settings(configured(*words), 0), words)

    def test_vllm(self) -> None:
        """The form of vLLM has its defaults, maps, and a topic that is empty unless it is said."""
        words = ("--enable-kvcache", "-dp", "2", "--kv-events-config.enable_kv_cache_events", "true")
        settings = self.settings(*words, number=1)
        expected = {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": "tcp://*:5558",
            "replay_endpoint": None,
            "buffer_steps": 10_000,
            "hwm": 100_000,
            "max_queue_size": 100_000,
            "topic": "",
        }
        self.assertEqual(list(expected.items()), list(settings.described().items()))
        self.assertEqual((True, 512, 0.01), (settings.maps, settings.batch_size, settings.flush_interval))

    def test_vllm_members(self) -> None:
        """Every member of vLLM's form is heard, and flat options do not mix in."""
        members = (
            '{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://epp:1","replay_endpoint":"tcp://*:2",'
            '"buffer_steps":3,"hwm":4,"max_queue_size":5,"topic":"kv@p@m"}'
        )
        settings = self.settings("--enable-kvcache", "--zmq-endpoint", "tcp://*:9", "--kv-events-config", members)
        expected = ["tcp://epp:1", "tcp://*:2", 3, 4, 5, "kv@p@m"]
        self.assertEqual(expected, list(settings.described().values())[2:])


class ConfigTests(SynchronousTestCase):
    """vLLM's form."""

    def test_defaults(self) -> None:
        """Nothing is on by default."""
        self.assertEqual(EventsConfig(), parse_events_config({}))

    def test_faults(self) -> None:
        """Members that do not exist and values that cannot be are told by name, all at once."""
        wrong: dict[str, Any] = {
            "enable_kv_cache_events": "yes",
            "publisher": "kaf ka",
            "endpoint": "",
            "replay_endpoint": 1,
            "buffer_steps": 0,
            "hwm": True,
            "max_queue_size": 10**10,
            "topic": 1,
            "bogus": 1,
        }
        error = self.assertRaises(ValueError, parse_events_config, wrong)
        for name, fault in zip(wrong, str(error).split("; "), strict=True):
            self.assertEqual(name, fault.split(" ")[0])

    def test_doubt(self) -> None:
        """A form that asks for events that cannot be is told in a sentence, and starts."""
        wanted = '{"enable_kv_cache_events":true}'
        for words, expected in (
            (["--enable-kvcache", "--kv-events-config", wanted], ""),
            (["--kv-events-config", wanted], ""),
            (["--kv-events-config", wanted, "--no-enable-kvcache"], "there are none without enable-kvcache"),
            (["--kv-events-config", wanted, "--no-enable-prefix-caching"], "none without enable-prefix-caching"),
            (["--kv-events-config", '{"publisher":"zmq"}'], "has a publisher, and no KV events without"),
            (["--kv-events-config", '{"publisher":"null"}'], ""),
            (["--enable-kvcache"], ""),
        ):
            doubt = event_doubt(configured(*words))
            self.assertTrue(expected in doubt and bool(expected) == bool(doubt), doubt)
