"""gRPC as grpcio's clients speak it, over cleartext and over TLS, on the port of the HTTP API.

VLLMSIM_GRPC_BURSTS in the environment says how many bursts of 300 calls are tried; 1 if it does not.
"""

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from smg_grpc_proto import vllm_engine_pb2 as pb
from smg_grpc_proto import vllm_engine_pb2_grpc as stubs
from smg_grpc_proto.generated import common_pb2 as common
from tokenizers import Tokenizer

from tests.integration.calling import ENGINE, CallingTestCase, prompt
from tests.integration.daemon import PATIENCE, ROOT

BURSTS = int(os.environ.get("VLLMSIM_GRPC_BURSTS", "1"))
STREAMS = 300
Code = grpc.StatusCode
BUILTIN = ROOT / "vllmsim" / "tokenization" / "builtin"
TOKENIZER = Tokenizer.from_file(str(BUILTIN / "tokenizer.json"))
TEXT = "One two three four five, and so on until somebody says stop."


class EngineTests(CallingTestCase):
    """Every method of vLLM's service, and the services beside it."""

    words = (
        *("--model", "org/m", "--served-model-name", "m", "--tokenizer", "builtin", "--mode", "echo"),
        *("--enable-kvcache", "--zmq-endpoint", "", "--block-size", "16", "--kv-cache-size", "4096"),
        *("--max-model-len", "4096", "--max-num-seqs", "400", "--enable-request-id-headers"),
        *("--enable-lora", "--lora-modules", "ad1=/adapters/one"),
        *("--profiler-config", '{"profiler": "torch", "torch_profiler_dir": "/tmp"}'),
        *("--kv-transfer-config", '{"kv_connector": "NixlConnector", "kv_role": "kv_both", "engine_id": "e1"}'),
    )

    def setUp(self) -> None:
        """Open a channel with a connection of its own."""
        self.vllm = self.engine()

    def decode(self, ids: Iterable[int]) -> str:
        """Make a text of tokens."""
        text: str = TOKENIZER.decode(list(ids))
        return text

    def ids(self, text: str = TEXT) -> list[int]:
        """Read a text."""
        found: list[int] = TOKENIZER.encode(text).ids
        return found

    def generate(self, request: pb.GenerateRequest, **more: Any) -> list[pb.GenerateResponse]:
        """Read a whole answer."""
        return list(self.vllm.Generate(request, timeout=PATIENCE, **more))

    def test_tokenizer(self) -> None:
        """The tokenizer's files come as an archive, in pieces, with a digest on the last."""
        chunks = list(self.vllm.GetTokenizer(common.GetTokenizerRequest(), timeout=PATIENCE))
        archive = b"".join(chunk.data for chunk in chunks)
        digests = [chunk.sha256 for chunk in chunks]
        self.assertEqual([""] * (len(chunks) - 1) + [hashlib.sha256(archive).hexdigest()], digests)
        self.assertLessEqual(max(len(chunk.data) for chunk in chunks), 64 << 10)
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            names = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
            self.assertLessEqual(names, set(files.namelist()))
            self.assertEqual((BUILTIN / "tokenizer.json").read_bytes(), files.read("tokenizer.json"))

    def test_streams(self) -> None:
        """Tokens come one by one, and then why there are no more."""
        ids = self.ids()
        *chunks, last = self.generate(prompt(ids, stream=True, request_id="r1"))
        said = [token for each in chunks for token in each.chunk.token_ids]
        self.assertEqual(TEXT, self.decode(said))
        self.assertEqual([1] * len(said), [each.chunk.completion_tokens for each in chunks])
        self.assertEqual({len(ids)}, {each.chunk.prompt_tokens for each in chunks})
        self.assertEqual(("stop", len(ids)), (last.complete.finish_reason, last.complete.prompt_tokens))

    def test_whole(self) -> None:
        """What is not streamed is one message for each choice, from a text as well as from token ids."""
        request = pb.GenerateRequest(text=TEXT, sampling_params=pb.SamplingParams(n=2, max_tokens=5, ignore_eos=True))
        answers = sorted(self.generate(request), key=lambda each: each.complete.index)
        self.assertEqual([0, 1], [each.complete.index for each in answers])
        for each in answers:
            self.assertEqual(self.ids()[:5], list(each.complete.output_ids))
            self.assertEqual(("length", 5), (each.complete.finish_reason, each.complete.completion_tokens))

    def test_choices_streamed(self) -> None:
        """Choices of a stream are told apart, and each has its end."""
        answers = self.generate(prompt(self.ids(), sampling={"n": 3, "max_tokens": 4}, stream=True))
        for index in range(3):
            chunks = [each.chunk for each in answers if each.HasField("chunk") and each.chunk.index == index]
            self.assertEqual(self.ids()[:4], [token for each in chunks for token in each.token_ids])
        ends = [each.complete.index for each in answers if each.HasField("complete")]
        self.assertEqual([0, 1, 2], sorted(ends))

    def test_stops(self) -> None:
        """A stop string or token ends an answer, which says which."""
        [answer] = self.generate(prompt(self.ids(), sampling={"stop": ["four"]}))
        self.assertEqual(("stop", "four"), (answer.complete.finish_reason, answer.complete.matched_stop_str))
        third = self.ids()[2]
        [answer] = self.generate(prompt(self.ids(), sampling={"stop_token_ids": [third]}))
        self.assertEqual(("stop", third), (answer.complete.finish_reason, answer.complete.matched_token_id))

    def test_probabilities(self) -> None:
        """Log probabilities are asked for by the number of alternatives, of the answer and of the prompt."""
        ids = self.ids()
        [answer] = self.generate(prompt(ids, sampling={"logprobs": 2, "prompt_logprobs": 1, "max_tokens": 3}))
        output, given = answer.complete.output_logprobs, answer.complete.input_logprobs
        self.assertEqual(ids[:3], list(output.token_ids))
        self.assertEqual([2, 2, 2], [len(each.token_ids) for each in output.top_logprobs])
        self.assertTrue(all(value <= 0 for value in output.token_logprobs))
        self.assertEqual(ids, list(given.token_ids))
        self.assertFalse(given.token_logprobs[0].HasField("value"))
        self.assertTrue(given.token_logprobs[1].HasField("value"))

    def test_cached(self) -> None:
        """A prompt that has come before is found in the prefix cache."""
        ids = [number % 500 + 1000 for number in range(100)]
        for expected in (0, 96):
            [answer] = self.generate(prompt(ids, sampling={"max_tokens": 1}))
            self.assertEqual(expected, answer.complete.cached_tokens)

    def test_transfer(self) -> None:
        """A prefill hands over what a decode takes, as JSON."""
        asked = json.dumps({"do_remote_decode": True, "do_remote_prefill": False})
        [answer] = self.generate(prompt(self.ids(), sampling={"max_tokens": 1}, kv_transfer_params_json=asked))
        handed = json.loads(answer.complete.kv_transfer_params_json)
        self.assertEqual((True, "e1"), (handed["do_remote_prefill"], handed["remote_engine_id"]))
        [answer] = self.generate(prompt(self.ids(), kv_transfer_params_json=json.dumps(handed)))
        self.assertEqual(TEXT, self.decode(answer.complete.output_ids))
        self.refused(Code.INVALID_ARGUMENT, self.vllm.Generate, prompt([1], kv_transfer_params_json="["))

    def test_adapters(self) -> None:
        """An adapter is named by metadata, as messages have no model; one that is not there is not found."""
        for name, adapter in (("m", None), ("ad1", "ad1")):
            self.generate(prompt([1], sampling={"max_tokens": 1}), metadata=(("model", name),))
            [record] = self.journal("limit=1&order=desc")
            self.assertEqual((name, adapter), (record["asked"], record["adapter"]))
        self.refused(Code.NOT_FOUND, self.vllm.Generate, prompt([1]), metadata=(("model", "ad2"),))

    def test_structures(self) -> None:
        """A constraint is kept to."""
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        [answer] = self.generate(prompt(self.ids(), sampling={"json_schema": json.dumps(schema)}))
        self.assertIsInstance(json.loads(self.decode(answer.complete.output_ids))["n"], int)
        choice = pb.ChoiceConstraint(choices=["red", "green"])
        [answer] = self.generate(prompt(self.ids(), sampling={"choice": choice}))
        self.assertIn(self.decode(answer.complete.output_ids), ("red", "green"))

    def test_invalid(self) -> None:
        """What vLLM refuses is refused with a status that says whose mistake it is."""
        for request in (
            prompt([]),
            prompt([1] * 4097),
            prompt([1 << 31]),
            prompt([1], sampling={"temperature": -1.0}),
            prompt([1], sampling={"json_schema": "{"}),
            prompt([1], sampling={"regex": "("}),
            prompt([1], data_parallel_rank=7),
            prompt([1], sampling={"logprobs": 10**6}),
        ):
            self.assertTrue(self.refused(Code.INVALID_ARGUMENT, self.vllm.Generate, request), request)

    def test_embeds(self) -> None:
        """A server that generates has no vectors, and says so."""
        request = pb.EmbedRequest(request_id="e", tokenized=pb.TokenizedInput(input_ids=[1, 2, 3]))
        try:
            answer = self.vllm.Embed(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            self.assertEqual(Code.INVALID_ARGUMENT, error.code())
        else:
            self.assertEqual((3, len(answer.embedding)), (answer.prompt_tokens, answer.embedding_dim))

    def test_models(self) -> None:
        """The model and the server are described."""
        model = self.vllm.GetModelInfo(pb.GetModelInfoRequest(), timeout=PATIENCE)
        self.assertEqual(("m", 4096, True), (model.served_model_name, model.max_context_length, model.is_generation))
        server = self.vllm.GetServerInfo(pb.GetServerInfoRequest(), timeout=PATIENCE)
        self.assertEqual(("vllm-grpc", 16, 400), (server.server_type, server.block_size, server.max_num_seqs))
        self.assertEqual(("NixlConnector", "kv_both", "e1"), (server.kv_connector, server.kv_role, server.kv_engine_id))
        loads = self.vllm.GetLoads(pb.GetLoadsRequest(include=["core"]), timeout=PATIENCE)
        self.assertEqual([(0, 400)], [(each.dp_rank, each.max_running_requests) for each in loads.loads])

    def test_health(self) -> None:
        """It is healthy, in vLLM's words and in gRPC's own."""
        answer = self.vllm.HealthCheck(pb.HealthCheckRequest(), timeout=PATIENCE)
        self.assertEqual((True, "Health"), (answer.healthy, answer.message))
        health = health_pb2_grpc.HealthStub(self.open())
        for name in ("", "vllm.grpc.engine.VllmEngine"):
            checked = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
            self.assertEqual(health_pb2.HealthCheckResponse.SERVING, checked.status)
        self.refused(Code.NOT_FOUND, health.Check, health_pb2.HealthCheckRequest(service="x"))
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        self.assertEqual(health_pb2.HealthCheckResponse.SERVING, next(watch).status)
        watch.cancel()

    def test_reflection(self) -> None:
        """A client without the messages learns all of them."""
        database = ProtoReflectionDescriptorDatabase(self.open())
        services = set(database.get_services())
        self.assertLessEqual({"vllm.grpc.engine.VllmEngine", "grpc.health.v1.Health"}, services)
        for name in services:
            self.assertTrue(database.FindFileContainingSymbol(name).service, name)

    def test_caches(self) -> None:
        """The prefix cache is flushed on demand."""
        ids = [number % 500 + 2000 for number in range(100)]
        for flush in (False, True):
            self.generate(prompt(ids, sampling={"max_tokens": 1}))
            if flush:
                self.assertTrue(self.vllm.FlushCache(common.FlushCacheRequest(), timeout=PATIENCE).success)
        [answer] = self.generate(prompt(ids, sampling={"max_tokens": 1}))
        self.assertEqual(0, answer.complete.cached_tokens)

    def test_profiles(self) -> None:
        """A profiler that was asked for is started and stopped; what it takes at the start only is refused."""
        self.refused(Code.INVALID_ARGUMENT, self.vllm.StartProfile, common.StartProfileRequest(num_steps=3))
        self.assertTrue(self.vllm.StartProfile(common.StartProfileRequest(), timeout=PATIENCE).success)
        self.assertTrue(self.vllm.StopProfile(common.StopProfileRequest(), timeout=PATIENCE).success)

    def test_events(self) -> None:
        """A subscriber to KV events is told of blocks as they are stored."""
        subscription = self.vllm.SubscribeKvEvents(
            common.SubscribeKvEventsRequest(load_records_before_first_batch=True), timeout=PATIENCE
        )
        self.assertGreater(next(subscription).load.max_running_requests, 0)
        ids = [number % 500 + 3000 for number in range(64)]
        self.generate(prompt(ids, sampling={"max_tokens": 1}))
        stored: list[int] = []
        while stored[-64:] != ids:
            for event in next(subscription).events:
                stored += [token for block in event.stored.blocks for token in block.token_ids]
        subscription.cancel()

    def test_unknown(self) -> None:
        """A method or a service that is not there is unimplemented."""
        channel = self.open()
        for path in (f"{ENGINE}Nothing", "/no.such.Service/Method", "/vllm.grpc.engine/Generate", "/v1/models"):
            self.refused(Code.UNIMPLEMENTED, channel.unary_unary(path), b"")

    def test_undecodable(self) -> None:
        """A message that is none, or another, is refused as servers in Python do."""
        channel = self.open()
        for name in ("Generate", "Embed", "Abort"):
            self.refused(Code.INTERNAL, channel.unary_stream(f"{ENGINE}{name}"), b"\xff\xff\xff")

    def test_compressed(self) -> None:
        """Messages may be compressed."""
        for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            engine = stubs.VllmEngineStub(self.open(("grpc.default_compression_algorithm", int(algorithm))))
            request = prompt(self.ids(TEXT * 20), sampling={"max_tokens": 3})
            [answer] = engine.Generate(request, timeout=PATIENCE, compression=algorithm)
            self.assertEqual(3, answer.complete.completion_tokens)

    def test_metadata(self) -> None:
        """A call's id comes back in front of its answer."""
        call = self.vllm.Generate(
            prompt(self.ids(), request_id="mine", sampling={"max_tokens": 1}),
            timeout=PATIENCE,
            metadata=(("x-request-id", "theirs"), ("bytes-bin", b"\x00\xff")),
        )
        self.assertEqual("theirs", dict(call.initial_metadata())["x-request-id"])
        [_answer] = list(call)
        [record] = self.journal("limit=1&order=desc")
        self.assertEqual(f"{ENGINE}Generate", record["route"])

    def test_aio(self) -> None:
        """The client for asyncio is served as well."""

        async def ask() -> list[int]:
            target, options = f"127.0.0.1:{self.daemon.port}", self.options()
            if self.secure:
                channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(self.authority.pem), options)
            else:
                channel = grpc.aio.insecure_channel(target, options)
            async with channel:
                engine = stubs.VllmEngineStub(channel)
                calls = [engine.Generate(prompt(self.ids(), stream=True), timeout=PATIENCE) for _ in range(20)]
                return [sum([len(each.chunk.token_ids) async for each in call]) for call in calls]

        self.assertEqual([len(self.ids()) + 1] * 20, asyncio.run(ask()))

    def test_bursts(self) -> None:
        """None of 300 calls at once on a new connection is lost."""
        request = prompt(self.ids(), stream=True)
        expected = len(self.ids()) + 1
        for _ in range(BURSTS):
            engine = self.engine()
            calls = [engine.Generate(request, timeout=3 * PATIENCE) for _ in range(STREAMS)]
            counts = [sum(len(each.chunk.token_ids) for each in call) for call in calls]
            self.assertEqual((STREAMS, {expected}), (len(counts), set(counts)))
        self.rest()


class ExampleTests(CallingTestCase):
    """The example, against a server with a pace."""

    words = ("--model", "m", "--tokenizer", "builtin", "--mode", "echo", "--inter-token-latency", "5ms")

    def test_stream(self) -> None:
        """It makes text of the tokens that come, and says when they did."""
        command = [
            sys.executable,
            str(ROOT / "examples" / "grpc" / "stream_tokens.py"),
            f"127.0.0.1:{self.daemon.port}",
        ]
        told = subprocess.run(
            [*command, "What I say is said."], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        lines = told.stdout.splitlines()
        self.assertEqual(["m, a context of 1024 tokens", "What I say is said.", ""], lines[:3])
        self.assertRegex(lines[3], "^6 prompt tokens, 7 generated, then 'stop'$")
        self.assertRegex(lines[4], r"^first token after \d+ ms, then one every \d+\.\d ms$")


class SecureEngineTests(EngineTests):
    """The same over TLS."""

    secure = True
