"""How a server is operated by vllm.Control, as its clients see it."""

import os
import signal

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from tests.grpc.calling import Called
from tests.grpc.frontend import FrontEndTestCase
from vllmsim import VLLM_VERSION
from vllmsim.grpc.status import Code


class TellingTests(FrontEndTestCase):
    """What a server tells of itself."""

    def test_server(self) -> None:
        """A server tells its release, its limits, and an id that stays the same."""
        self.make_rank("--max-model-len", "2048", "--max-num-seqs", "7", "--enable-kvcache", "--kv-cache-size", "256")
        (told,) = self.control("GetServerInfo").messages
        self.assertEqual((VLLM_VERSION, 2048, 256, 7), (
            told.engine_version, told.max_model_len, told.total_kv_blocks, told.max_running_requests,
        ))  # fmt: skip
        self.assertEqual(told.instance_id, self.control("GetServerInfo").messages[0].instance_id)

    def test_live(self) -> None:
        """A limit that has changed is told."""
        self.make_rank("--max-num-seqs", "7")
        self.post("/admin/config", {"max-num-seqs": 9})
        self.assertEqual(9, self.control("GetServerInfo").messages[0].max_running_requests)

    def test_model(self) -> None:
        """A model tells its names."""
        self.make_rank("--model", "/m", "--served-model-name", "a", "b")
        (told,) = self.control("GetModelInfo").messages
        self.assertEqual(("/m", "a", ["b"]), (told.model_id, told.served_model_name, told.served_model_aliases))

    def test_sources(self) -> None:
        """A server tells where its KV events are, if it publishes any."""
        self.make_rank()
        self.assertEqual([], list(self.control("GetKvEventSources").messages[0].sources))
        self.make_rank("--enable-kvcache", "--zmq-endpoint", "tcp://127.0.0.1:5557")
        (source,) = self.control("GetKvEventSources").messages[0].sources
        self.assertEqual(("zmq", "tcp://127.0.0.1:5557"), (source.transport, source.endpoint))

    def test_unknown(self) -> None:
        """Methods that update weights are not implemented."""
        self.make_rank()
        client = self.connect_http2()
        stream = client.begin("POST", "/vllm.Control/UpdateWeights", content_type="application/grpc", te="trailers")
        stream.send(bytes(5), end=True)
        self.assertEqual(Code.UNIMPLEMENTED, Called(stream, None).code)


class AdapterTests(FrontEndTestCase):
    """Adapters come and go."""

    def test_load(self) -> None:
        """An adapter is loaded in its time, is listed and answers, and is unloaded."""
        self.make_rank("--lora-load-time", "2s")
        loading = self.control("LoadLora", lora_name="poet", lora_path="/p")
        self.assertIsNone(loading.code)
        self.advance(loading, 2)
        self.assertEqual(Code.OK, loading.code)
        (listed,) = self.control("ListLoras").messages[0].loras
        self.assertEqual(("poet", "/p", 1), (listed.lora_name, listed.lora_path, listed.lora_id))
        self.assertEqual(Code.OK, self.generate(lora_name="poet").code)
        again = self.control("LoadLora", lora_name="poet", lora_path="/p")
        self.assertEqual(Code.INVALID_ARGUMENT, again.code)
        self.assertIn("already been loaded", again.text)
        self.assertEqual(Code.OK, self.control("UnloadLora", lora_name="poet").code)
        self.assertEqual(Code.NOT_FOUND, self.control("UnloadLora", lora_name="poet").code)
        self.assertEqual(Code.NOT_FOUND, self.generate(lora_name="poet").code)

    def test_forbidden(self) -> None:
        """Where clients may load none, they may unload none either."""
        self.make_rank("--no-allow-runtime-lora-updating", "--lora-modules", "poet=/p")
        for method in ("LoadLora", "UnloadLora"):
            called = self.control(method, lora_name="poet")
            self.assertEqual(Code.PERMISSION_DENIED, called.code)
            self.assertIn("allow-runtime-lora-updating", called.text)
        self.assertEqual(1, len(self.control("ListLoras").messages[0].loras))


class PauseTests(FrontEndTestCase):
    """A server lets nobody in."""

    def setUp(self) -> None:
        """Have a rank whose answers take two seconds."""
        self.make_rank(
            "--mode", "echo", "--time-to-first-token", "1s", "--inter-token-latency", "1s", "--enable-sleep-mode"
        )

    def states(self) -> tuple[bool, bool]:
        """Tell whether it is paused, and whether it sleeps."""
        paused, asleep = self.control("IsPaused").messages[0], self.control("IsSleeping").messages[0]
        return paused.is_paused, asleep.is_sleeping

    def test_pause(self) -> None:
        """What runs is aborted, and nobody is let in until the server goes on."""
        running = self.generate(text="a b")
        self.assertEqual(Code.OK, self.control("PauseGeneration").code)
        self.advance(running, 0)
        self.assertEqual((Code.OK, (True, False)), (running.code, self.states()))
        refused = self.generate()
        self.assertEqual(Code.UNAVAILABLE, refused.code)
        self.assertIn("Generation is paused", refused.text)
        self.assertEqual(Code.OK, self.control("ResumeGeneration").code)
        self.assertEqual((False, False), self.states())

    def test_wait(self) -> None:
        """A pause that waits is answered when what runs has come to its end."""
        running = self.generate(text="a b", stopping={"max_new_tokens": 2})
        pausing = self.control("PauseGeneration", mode=1)
        self.advance(running, 1)
        self.assertEqual((None, None), (running.code, pausing.code))
        self.advance(running, 1, 0)
        pausing.stream.client.pump()
        self.assertEqual((Code.OK, Code.OK), (running.code, pausing.code))

    def test_sleep(self) -> None:
        """A server falls asleep, and wakes up in parts."""
        self.assertEqual(Code.OK, self.control("Sleep", level=2, mode=2).code)
        self.assertEqual((False, True), self.states())
        self.control("WakeUp", tags=["weights"])
        self.assertEqual((False, True), self.states())
        self.control("WakeUp", tags=["kv_cache"])
        self.assertEqual((False, False), self.states())

    def test_wrong(self) -> None:
        """Modes, levels and tags that there are none of are refused."""
        for called in (
            self.control("PauseGeneration", mode=7),
            self.control("Sleep", level=3),
            self.control("WakeUp", tags=["x"]),
        ):
            self.assertEqual(Code.INVALID_ARGUMENT, called.code)
        self.assertEqual((False, False), self.states())

    def test_sleepless(self) -> None:
        """A server that may not sleep says so."""
        self.make_rank()
        called = self.control("Sleep")
        self.assertEqual(Code.FAILED_PRECONDITION, called.code)
        self.assertIn("enable-sleep-mode", called.text)

    def test_abort(self) -> None:
        """Requests are aborted by their names; where none is named, none is."""
        running = self.generate(text="a b", request_id="r1")
        self.assertEqual(0, self.control("Abort").messages[0].num_aborted)
        self.assertEqual(0, self.control("Abort", request_ids=["r2"]).messages[0].num_aborted)
        self.assertIsNone(running.code)
        self.assertEqual(1, self.control("Abort", request_ids=["r1", "r2"]).messages[0].num_aborted)
        self.advance(running, 0)
        self.assertEqual(Code.OK, running.code)


class ShutdownTests(FrontEndTestCase):
    """The end."""

    def setUp(self) -> None:
        """Record what signals are sent."""
        self.sent: list[tuple[int, int]] = []
        self.patch(os, "kill", lambda *arguments: self.sent.append(arguments))
        self.come_from("127.0.0.1")

    def come_from(self, host: str) -> None:
        """Have clients be elsewhere."""
        self.patch(StringTransport, "getPeer", lambda _: IPv4Address("TCP", host, 54321))

    def test_shutdown(self) -> None:
        """A server that its clients may operate is sent the signal that stops it, once."""
        self.make_rank()
        self.assertEqual([Code.OK, Code.OK], [self.control("Shutdown").code for _ in range(2)])
        self.assertEqual([(os.getpid(), signal.SIGTERM)], self.sent)

    def test_from_afar(self) -> None:
        """Where there are no keys, a server is shut down from its own machine alone, but paused by anyone."""
        self.make_rank()
        for host, code in (("192.168.1.1", Code.PERMISSION_DENIED), ("::1", Code.OK), ("127.0.0.1", Code.OK)):
            self.come_from(host)
            self.assertEqual((code, Code.OK), (self.control("Shutdown").code, self.control("PauseGeneration").code))
        self.assertEqual(1, len(self.sent))

    def test_administered(self) -> None:
        """Where administrators have a key or an endpoint of their own, other clients may pause a server at most."""
        for words in (("--admin-api-key", "s3cret"), ("--admin-endpoint", "8001")):
            self.make_rank(*words)
            called = self.control("Shutdown", {"authorization": "Bearer s3cret"})
            self.assertEqual(Code.PERMISSION_DENIED, called.code)
            self.assertIn("administrators", called.text)
            self.assertEqual(Code.OK, self.control("PauseGeneration").code)
        self.assertEqual([], self.sent)

    def test_keys(self) -> None:
        """Who has none of the server's keys neither operates it nor learns how it is set up."""
        self.make_rank("--api-key", "s3cret")
        self.come_from("192.168.1.1")
        self.assertEqual(
            [Code.UNAUTHENTICATED, Code.UNAUTHENTICATED],
            [self.control(each).code for each in ("Shutdown", "GetServerInfo")],
        )
        self.assertEqual([], self.sent)
        self.assertEqual(Code.OK, self.control("Shutdown", {"authorization": "Bearer s3cret"}).code)
        self.assertEqual(1, len(self.sent))

    def test_forbidden(self) -> None:
        """A server without a development mode is neither shut down nor paused by its clients."""
        self.make_rank("--no-server-dev-mode", "--enable-sleep-mode")
        for method in ("Shutdown", "PauseGeneration", "ResumeGeneration", "Sleep", "WakeUp"):
            called = self.control(method)
            self.assertEqual(Code.PERMISSION_DENIED, called.code)
            self.assertIn("server-dev-mode", called.text)
        self.assertEqual([], self.sent)
        self.assertEqual([Code.OK, Code.OK], [self.control(each).code for each in ("IsPaused", "IsSleeping")])
