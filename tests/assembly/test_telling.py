"""What a whole rank tells of its model and of itself over gRPC."""

import hashlib
import io
import json
import os
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from attrs import evolve
from jinja2 import Environment
from smg_grpc_proto.generated import common_pb2 as common
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from tokenizers import Tokenizer

from tests.folders import make_folder
from tests.grpc.calling import Called
from tests.grpc.ranks import EngineTestCase
from tests.harness import EPOCH
from tests.tokenization.small import bpe, write_folder
from vllmsim.grpc.status import Code

BUILTIN = str(files("vllmsim.tokenization") / "builtin" / "tokenizer.json")
NIXL = '{"kv_connector": "NixlConnector", "kv_role": "kv_both"}'


class ModelTests(EngineTestCase):
    """``GetModelInfo``."""

    def info(self, *words: str) -> Any:
        """Ask a rank."""
        self.make_rank(*words)
        return self.told(self.ask("GetModelInfo", pb.GetModelInfoResponse, pb.GetModelInfoRequest()))

    def test_plain(self) -> None:
        """A model without files has the family that its name says, and the tokenizer's own ids."""
        info = self.info()
        self.assertEqual(("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"), (info.model_path, info.served_model_name))
        self.assertEqual(("qwen3", ["Qwen3ForCausalLM"]), (info.model_type, list(info.architectures)))
        self.assertEqual((1024, 1024, True), (info.max_context_length, info.max_req_input_len, info.is_generation))
        self.assertEqual(("", True), (info.default_sampling_params_json, info.supports_vision))

    def test_options(self) -> None:
        """Names, length, runner and eyes are those of the configuration."""
        info = self.info("--model", "a/b", "--served-model-name", "m1", "m2", "--max-model-len", "99", "--runner",
                         "pooling", "--language-model-only", "--override-generation-config", '{"top_p": 0.5}',
                         "--tokenizer", "builtin")  # fmt: skip
        self.assertEqual(("a/b", "m1", "builtin"), (info.model_path, info.served_model_name, info.tokenizer_path))
        self.assertEqual((99, False, False), (info.max_context_length, info.is_generation, info.supports_vision))
        self.assertEqual(("", '{"top_p":0.5}'), (info.model_type, info.default_sampling_params_json))
        self.assertEqual(Tokenizer.from_file(BUILTIN).get_vocab_size(), info.vocab_size)

    def test_folder(self) -> None:
        """A model's folder tells of it, and its ids are those of its own tokenizer."""
        folder = make_folder(self)
        write_folder(str(folder), bpe())
        config = {"model_type": "tiny", "architectures": ["TinyLM"], "vocab_size": 5000, "eos_token_id": [7, 8],
                  "bos_token_id": 3}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "generation_config.json").write_text('{"temperature": 0.6, "eos_token_id": 7}')
        info = self.info("--model", str(folder))
        self.assertEqual(("tiny", ["TinyLM"], 5000), (info.model_type, list(info.architectures), info.vocab_size))
        self.assertEqual(([7, 8], 3, 0), (list(info.eos_token_ids), info.bos_token_id, info.pad_token_id))
        self.assertEqual('{"temperature":0.6}', info.default_sampling_params_json)
        words = self.info("--model", str(folder), "--tokenizer", "words")
        self.assertEqual([8178], list(words.eos_token_ids))
        self.assertEqual("tiny", words.model_type)


class ServerTests(EngineTestCase):
    """``GetServerInfo`` and ``GetLoads``."""

    def info(self) -> Any:
        """Ask the rank."""
        return self.told(self.ask("GetServerInfo", pb.GetServerInfoResponse, pb.GetServerInfoRequest()))

    def loads(self, **fields: Any) -> Any:
        """Ask how much there is to do."""
        return self.told(self.ask("GetLoads", pb.GetLoadsResponse, pb.GetLoadsRequest(**fields)))

    def test_state(self) -> None:
        """Requests, the pause and the time are those of now."""
        self.make_rank("--inter-token-latency", "100ms", "--max-num-seqs", "3")
        self.clock.advance(7)
        info = self.info()
        self.assertEqual((0, False, 7.0, 0.0), (
            info.active_requests, info.is_paused, info.uptime_seconds, info.last_receive_timestamp))  # fmt: skip
        self.complete("a", max_tokens=30, ignore_eos=True)
        self.clock.pump([0.1] * 35)
        self.assertAlmostEqual(EPOCH - 0.6, self.info().last_receive_timestamp, places=3)
        self.complete("b", max_tokens=30, ignore_eos=True)
        self.post("/pause?mode=keep", b"")
        self.post("/admin/config", {"max-num-seqs": 4})
        info = self.info()
        self.assertEqual((1, True, 4), (info.active_requests, info.is_paused, info.max_num_seqs))
        self.post("/resume", b"")
        self.assertFalse(self.info().is_paused)

    def test_asleep(self) -> None:
        """A rank that sleeps lets nobody in either."""
        self.make_rank("--enable-sleep-mode")
        self.post("/sleep", b"")
        self.assertTrue(self.info().is_paused)

    def test_setup(self) -> None:
        """What peers must know of the KV cache is told as it is configured."""
        self.make_rank("--kv-transfer-config", NIXL, "--kv-cache-dtype", "fp8", "--block-size", "32", "--dtype", "half",
                       "--attention-backend", "FLASHINFER", "--reasoning-parser", "qwen3")  # fmt: skip
        info = self.info()
        self.assertEqual(("NixlConnector", "kv_both"), (info.kv_connector, info.kv_role))
        self.assertEqual(self.get("/query").json()["0"]["engine_id"], info.kv_engine_id)
        self.assertEqual(("fp8", 32, "torch.float16", "FLASHINFER"), (
            info.kv_cache_dtype, info.block_size, info.model_dtype, info.attention_backend))  # fmt: skip
        self.assertEqual(("qwen3", "after_reasoning"), (info.engine_reasoning_parser, info.constrained_decoding_start))
        self.assertEqual(("inprocess", "", 1), (info.mm_processor, info.pairing_protocol, info.data_parallel_size))

    def test_pairing(self) -> None:
        """An operator may say what servers that work together have in common."""
        os.environ["SMG_PAIRING_PROTOCOL"] = " p1 "
        self.addCleanup(os.environ.pop, "SMG_PAIRING_PROTOCOL")
        self.make_rank()
        self.assertEqual("p1", self.info().pairing_protocol)

    def test_nothing(self) -> None:
        """A server that moves no KV blocks has no name among peers; one that does not see takes no addresses."""
        self.make_rank("--language-model-only")
        info = self.info()
        self.assertEqual(("", "", "", ""), (info.kv_connector, info.kv_role, info.kv_engine_id, info.mm_processor))

    def test_ranks(self) -> None:
        """Several ranks have one id, behind which each has its number, and the loads of all are told."""
        self.make_ranks("-dp", "3", "--data-parallel-internal-lb", "--kv-transfer-config", NIXL,
                        "--time-to-first-token", "1s")  # fmt: skip
        info = self.info()
        self.assertEqual(3, info.data_parallel_size)
        self.assertEqual(f"{info.kv_engine_id}_dp2", self.get("/query").json()["2"]["engine_id"])
        self.post("/v1/completions", {"prompt": "a"}, X_data_parallel_rank="1")
        told = self.loads()
        self.assertEqual([(0, 0), (1, 1), (2, 0)], [(each.dp_rank, each.num_running_reqs) for each in told.loads])
        self.assertEqual([1], [each.dp_rank for each in self.loads(dp_rank=1).loads])
        self.assertEqual((3, "2026-11-22T09:30:33+00:00"), (told.dp_rank_count, told.timestamp))


class TokenizerTests(EngineTestCase):
    """``GetTokenizer``."""

    def fetch(self, *words: str) -> Called:
        """Ask a rank."""
        self.make_rank(*words)
        return self.ask("GetTokenizer", common.GetTokenizerChunk, common.GetTokenizerRequest())

    def files(self, called: Called) -> dict[str, bytes]:
        """Unpack the archive, which must have its hash."""
        self.assertEqual((Code.OK, ""), (called.code, called.text))
        data = b"".join(piece.data for piece in called.messages)
        self.assertEqual(hashlib.sha256(data).hexdigest(), called.messages[-1].sha256)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def test_builtin(self) -> None:
        """The files of the built-in tokenizer are all there, and each archive is the same."""
        called = self.fetch("--tokenizer", "builtin", "--reasoning-parser", "qwen3")
        files = self.files(called)
        folder = Path(BUILTIN).parent
        self.assertEqual({path.name: path.read_bytes() for path in folder.iterdir()}, files)
        again = self.ask("GetTokenizer", common.GetTokenizerChunk, common.GetTokenizerRequest())
        self.assertEqual(called.stream.body, again.stream.body)

    def test_unthinking(self) -> None:
        """Where answers have no reasoning, clients are not told how to switch it off; all else is said as ever."""
        template = self.files(self.fetch("--tokenizer", "builtin"))["chat_template.jinja"].decode()
        self.assertNotIn("enable_thinking", template)
        whole = (Path(BUILTIN).parent / "chat_template.jinja").read_text("utf-8")
        jinja, call = Environment(autoescape=False), {"name": "f", "arguments": '{"a": 1}'}  # noqa: S701 - no page
        messages = [{"role": "system", "content": "Be."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                    {"role": "assistant", "content": "Yes", "reasoning": "Well", "tool_calls": [{"function": call}]},
                    {"role": "tool", "content": "2"}]  # fmt: skip
        for more in ({}, {"tools": [{"name": "f"}]}, {"add_generation_prompt": True}):
            said = [jinja.from_string(text).render(messages=messages, **more) for text in (whole, template)]
            self.assertEqual(said[0], said[1])

    def test_folder(self) -> None:
        """So are those of a folder, and nothing else that is there."""
        folder = make_folder(self)
        write_folder(str(folder), bpe())
        (folder / "model.safetensors").write_bytes(b"weights")
        for words in (("--tokenizer", str(folder)), ("--model", str(folder))):
            self.assertEqual({"tokenizer.json", "tokenizer_config.json"}, set(self.files(self.fetch(*words))))

    def test_file(self) -> None:
        """A tokenizer that is one file has its usual name in the archive."""
        folder = make_folder(self)
        bpe().save(str(folder / "t.json"))
        self.assertEqual(["tokenizer.json"], list(self.files(self.fetch("--tokenizer", str(folder / "t.json")))))

    def test_gone(self) -> None:
        """Files that have been taken away since the start cannot be told."""
        folder = make_folder(self)
        write_folder(str(folder), bpe())
        self.make_rank("--tokenizer", str(folder))
        for path in folder.iterdir():
            path.unlink()
        called = self.ask("GetTokenizer", common.GetTokenizerChunk, common.GetTokenizerRequest())
        self.assertEqual((Code.INTERNAL, f"No tokenizer files found in {folder}"), (called.code, called.text))
        self.make_rank("--tokenizer", "builtin")
        self.live.swap(evolve(self.configuration, tokenizer=str(folder / "gone")))
        called = self.ask("GetTokenizer", common.GetTokenizerChunk, common.GetTokenizerRequest())
        self.assertEqual(Code.FAILED_PRECONDITION, called.code)
