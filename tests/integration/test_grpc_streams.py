"""What becomes of calls that are given up, too long, broken or forbidden, and of their connections."""

import gzip
import signal
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from h2.settings import SettingCodes
from smg_grpc_proto import vllm_engine_pb2 as pb

from tests.integration.calling import ENGINE, MIB, CallingTestCase, Wire, prompt
from tests.integration.daemon import PATIENCE, until

Code = grpc.StatusCode
SLOTS = 4
LONG = 1 << 20
"""Tokens in a long prompt."""


def framed(message: bytes, flag: int = 0) -> bytes:
    """Put a message into its frame."""
    return struct.pack(">BL", flag, len(message)) + message


class StreamTests(CallingTestCase):
    """A daemon that takes its time, over TLS: four slots, and fifty tokens a second."""

    secure = True
    words = (
        *("--model", "m", "--tokenizer", "builtin", "--mode", "echo", "--inter-token-latency", "20ms"),
        *("--max-num-seqs", str(SLOTS), "--enable-kvcache", "--kv-cache-size", "200000"),
        *("--max-model-len", str(2 * LONG), "--max-request-body-size-mb", "16"),
    )

    def tearDown(self) -> None:
        """Whatever a test did, everything is free afterwards."""
        self.rest()

    def begin(self, engine: Any = None, **more: Any) -> Any:
        """Begin a stream of a minute, and read its first token."""
        more.setdefault("timeout", PATIENCE)
        call = (engine or self.engine()).Generate(
            prompt([1, 2, 3], sampling={"max_tokens": 3000, "ignore_eos": True}, stream=True, request_id="long"), **more
        )
        next(call)
        return call

    def test_cancel(self) -> None:
        """A call that is cancelled frees its slot at once, and others on its connection go on."""
        engine = self.engine()
        calls = [self.begin(engine) for _ in range(SLOTS)]
        self.assertEqual(SLOTS, self.running())
        for call in calls[1:]:
            call.cancel()
        until(lambda: self.running() == 1)
        next(calls[0])
        calls[0].cancel()
        self.rest()
        self.assertEqual("disconnected", self.journal("limit=1&order=desc")[0]["outcome"])

    def test_waiting(self) -> None:
        """A call that is cancelled while it waits for a slot waits no more."""
        engine = self.engine()
        calls = [self.begin(engine) for _ in range(SLOTS)]
        waiting = engine.Generate(prompt([1]), timeout=PATIENCE)
        until(lambda: self.gauges()["num_requests_waiting"] == 1)
        waiting.cancel()
        until(lambda: self.gauges()["num_requests_waiting"] == 0)
        for call in calls:
            call.cancel()

    def test_vanish(self) -> None:
        """A client whose connection breaks frees all of its slots."""
        wire = Wire(self.connect("h2"))
        request = prompt([1, 2], sampling={"max_tokens": 3000, "ignore_eos": True}, stream=True)
        for _ in range(SLOTS):
            wire.call(f"{ENGINE}Generate", framed(request.SerializeToString()))
        until(lambda: self.running() == SLOTS)
        wire.socket.close()
        self.rest()

    def test_abort(self) -> None:
        """Abort ends a stream from another connection, which says so."""
        call = self.begin()
        self.engine().Abort(pb.AbortRequest(request_ids=["long", "nobody's"]), timeout=PATIENCE)
        *_, last = call
        self.assertEqual("abort", last.complete.finish_reason)

    def test_deadline(self) -> None:
        """A deadline ends a call at both ends."""
        call = self.begin(timeout=0.5)
        begin = time.monotonic()
        with self.assertRaises(grpc.RpcError):
            list(call)
        self.assertEqual(Code.DEADLINE_EXCEEDED, call.code())
        self.assertLess(time.monotonic() - begin, 5)
        self.rest()

    def test_slow(self) -> None:
        """A reader who stops holds up nobody, and reads on where it stopped."""
        wire = Wire(self.connect("h2"))
        wire.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 200})
        request = prompt(range(100, 150), sampling={"max_tokens": 50}, stream=True)
        stream = wire.call(f"{ENGINE}Generate", framed(request.SerializeToString()))
        self.rest()
        self.assertEqual(0, wire.status(stream)[0])
        found, body = [], wire.bodies[stream]
        while body:
            size = int.from_bytes(body[1:5], "big")
            found += pb.GenerateResponse.FromString(body[5 : 5 + size]).chunk.token_ids
            body = body[5 + size :]
        self.assertEqual(list(range(100, 150)), found)

    def test_long_ids(self) -> None:
        """A prompt of a million tokens is taken where the context has room, and not where it has none."""
        engine = self.engine()
        request = prompt([token % 8000 for token in range(LONG)], sampling={"max_tokens": 2})
        [answer] = engine.Generate(request, timeout=3 * PATIENCE)
        self.assertEqual(LONG, answer.complete.prompt_tokens)
        request.tokenized.input_ids.extend([*request.tokenized.input_ids, 1])
        self.assertIn("2097152", self.refused(Code.INVALID_ARGUMENT, engine.Generate, request))

    def test_reset(self) -> None:
        """A stream that its client resets, in the middle of its message or of its answer, is forgotten."""
        wire = Wire(self.connect("h2"))
        whole = framed(
            prompt([1, 2], sampling={"max_tokens": 3000, "ignore_eos": True}, stream=True).SerializeToString()
        )
        for body in (None, whole):
            for _ in range(50):
                wire.h2.reset_stream(wire.call(f"{ENGINE}Generate", body))
            wire.flush()
        self.rest()
        self.assertEqual(0, wire.status(wire.call(f"{ENGINE}HealthCheck", framed(b"")))[0])


class CleartextTests(StreamTests):
    """The same over cleartext, and what is no other over TLS."""

    secure = False

    def test_deadline_here(self) -> None:
        """A client that does not watch its deadline is told of it."""
        wire = Wire(self.connect("h2"))
        request = prompt([1, 2], sampling={"max_tokens": 3000, "ignore_eos": True}, stream=True)
        stream = wire.call(f"{ENGINE}Generate", framed(request.SerializeToString()), grpc_timeout="300m")
        self.assertEqual(Code.DEADLINE_EXCEEDED.value[0], wire.status(stream)[0])
        self.assertIn(stream, wire.bodies)

    def test_long_text(self) -> None:
        """A text of 4 MiB is read, or is refused when it is more than the model can take."""
        text = "word " * (4 * MIB // 5)
        more: Any = {"sampling_params": pb.SamplingParams(max_tokens=2)}
        [answer] = self.engine().Generate(pb.GenerateRequest(text=text, **more), timeout=3 * PATIENCE)
        self.assertGreater(answer.complete.prompt_tokens, 4 * MIB // 10)
        original = pb.TokenizedInput(original_text=text, input_ids=[1, 2, 3])
        [answer] = self.engine().Generate(pb.GenerateRequest(tokenized=original, **more), timeout=PATIENCE)
        self.assertEqual(3, answer.complete.prompt_tokens)

    def test_frames(self) -> None:
        """Frames that are broken have a status of their own, and harm no other call."""
        wire = Wire(self.connect("h2"))
        whole = prompt([1, 2], sampling={"max_tokens": 1}).SerializeToString()
        for body, expected in (
            (framed(whole)[:-1], Code.INTERNAL),
            (framed(whole)[:3], Code.INTERNAL),
            (b"", Code.INTERNAL),
            (framed(whole) + framed(whole), Code.INTERNAL),
            (framed(whole, 7), Code.INTERNAL),
            (framed(gzip.compress(whole), 1), Code.INTERNAL),
            (framed(b"\xff" * 20), Code.INTERNAL),
            (struct.pack(">BL", 0, 0xFFFFFFFF), Code.RESOURCE_EXHAUSTED),
        ):
            status, message = wire.status(wire.call(f"{ENGINE}Generate", body))
            self.assertEqual((expected.value[0], True), (status, bool(message)), body[:20])
        for algorithm, expected in (("gzip", Code.OK), ("identity", Code.INTERNAL), ("brotli", Code.UNIMPLEMENTED)):
            body = framed(gzip.compress(whole), 1)
            status, _ = wire.status(wire.call(f"{ENGINE}Generate", body, grpc_encoding=algorithm))
            self.assertEqual(expected.value[0], status, algorithm)
        bomb = framed(gzip.compress(bytes(32 * MIB), 1), 1)
        status, _ = wire.status(wire.call(f"{ENGINE}Generate", bomb, grpc_encoding="gzip"))
        self.assertEqual(Code.RESOURCE_EXHAUSTED.value[0], status)

    def test_not_grpc(self) -> None:
        """What is no call of gRPC is answered as HTTP is, over HTTP/2 too."""
        wire = Wire(self.connect("h2"))
        stream = wire.call("/health", b"", **{":method": "GET", "content_type": "text/plain"})
        wire.status(stream)
        self.assertEqual("200", wire.headers[stream][":status"])

    def test_keepalive(self) -> None:
        """A client that pings while it waits is not told to calm down."""
        engine = self.engine(
            ("grpc.keepalive_time_ms", 100), ("grpc.keepalive_timeout_ms", 2000),
            ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0),
        )  # fmt: skip
        call = self.begin(engine)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            next(call)
        call.cancel()

    def test_burst_waits(self) -> None:
        """More calls than there are slots wait for one, and all are served."""
        engine = self.engine()
        calls = [engine.Generate(prompt([1, 2], stream=True), timeout=PATIENCE) for _ in range(40)]
        self.assertEqual([3] * 40, [sum(len(each.chunk.token_ids) for each in call) for call in calls])


class KeyTests(CallingTestCase):
    """A daemon with an API key and a small context."""

    words = ("--model", "m", "--api-key", "s3cret", "--mode", "echo", "--max-model-len", "1000")

    def test_keys(self) -> None:
        """A call needs the key among its metadata; whether the server is healthy anybody may ask."""
        engine = self.engine()
        request = prompt([1, 2, 3], sampling={"max_tokens": 3})
        self.refused(Code.UNAUTHENTICATED, engine.Generate, request)
        wrong = (("authorization", "Bearer wrong"),)
        self.refused(Code.UNAUTHENTICATED, engine.Generate, request, metadata=wrong)
        right = (("authorization", "Bearer s3cret"),)
        [answer] = engine.Generate(request, timeout=PATIENCE, metadata=right)
        self.assertEqual([1, 2, 3], list(answer.complete.output_ids))

    def test_long(self) -> None:
        """What is longer than the context, or than bodies may be, is refused for that."""
        engine = self.engine()
        key = (("authorization", "Bearer s3cret"),)
        for request in (pb.GenerateRequest(text="word " * (3 * MIB // 5)), prompt(range(1001))):
            self.assertIn("1000", self.refused(Code.INVALID_ARGUMENT, engine.Generate, request, metadata=key))
        request = pb.GenerateRequest(text="word " * (4 * MIB // 5) + "end")
        self.assertIn("4194304", self.refused(Code.RESOURCE_EXHAUSTED, engine.Generate, request, metadata=key))


class DrainTests(CallingTestCase):
    """A daemon that is stopped while it is called."""

    words = ("--model", "m", "--mode", "echo", "--inter-token-latency", "50ms", "--shutdown-timeout", "20")

    def test_drain(self) -> None:
        """Streams end in peace while no call begins any more; the channel finds the next server on the port."""
        daemon = self.daemon
        engine = self.engine(("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200))
        call = engine.Generate(prompt(range(30), sampling={"max_tokens": 30}, stream=True), timeout=PATIENCE)
        got = len(next(call).chunk.token_ids)
        daemon.process.send_signal(signal.SIGTERM)
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(lambda: sum(len(each.chunk.token_ids) for each in call))
            until(lambda: "SIGTERM" in daemon.output())
            self.refused(Code.UNAVAILABLE, engine.Generate, prompt([1]), timeout=3)
            self.assertEqual(30, got + rest.result())
        self.assertEqual(0, daemon.process.wait(PATIENCE))
        self.started(self.start(*self.words, port=daemon.port))
        [answer] = engine.Generate(prompt([1, 2], sampling={"max_tokens": 2}), timeout=PATIENCE, wait_for_ready=True)
        self.assertEqual([1, 2], list(answer.complete.output_ids))
