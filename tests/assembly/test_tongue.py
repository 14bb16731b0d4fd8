"""In which tokens a whole rank speaks with clients of VllmEngine."""

import json
from typing import Any

from smg_grpc_proto.generated import common_pb2 as common
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from tokenizers import Tokenizer

from tests.assembly.test_telling import BUILTIN
from tests.dataset.making import fill, row_of
from tests.folders import make_folder
from tests.grpc.calling import Called
from tests.grpc.ranks import EngineTestCase
from vllmsim.dataset.sentences import SENTENCES
from vllmsim.grpc.status import Code
from vllmsim.tokenization.words import split

TOKENIZER = Tokenizer.from_file(BUILTIN)
IM_END = 8178


class TongueTests(EngineTestCase):
    """A client that has fetched the tokenizer."""

    def generate(self, text: str | list[int], sampling: dict[str, Any] | None = None, **fields: Any) -> Called:
        """Have a text continued, or some tokens."""
        ids = TOKENIZER.encode(text, add_special_tokens=False).ids if isinstance(text, str) else text
        request = pb.GenerateRequest(sampling_params=pb.SamplingParams(**sampling or {}), **fields)
        request.tokenized.input_ids.extend(ids)
        return self.ask("Generate", pb.GenerateResponse, request)

    def said(self, called: Called) -> str:
        """Read an answer in one piece."""
        self.assertEqual((Code.OK, ""), (called.code, called.text))
        [message] = called.messages
        return str(TOKENIZER.decode(list(message.complete.output_ids)))

    def test_sentences(self) -> None:
        """A rank with words says to clients over gRPC what can be read with the tokenizer that they fetch."""
        self.make_rank()
        called = self.generate("Hello!", {"max_tokens": 40, "ignore_eos": True})
        complete = called.messages[0].complete
        self.assertEqual(
            (2, 40, "length"), (complete.prompt_tokens, complete.completion_tokens, complete.finish_reason)
        )
        said = self.said(called)
        self.assertTrue(any(said.startswith(sentence.strip()) for sentence in SENTENCES), said)

    def test_end(self) -> None:
        """An answer ends with the token that ends answers there."""
        self.make_rank()
        ids = list(self.generate("Hello!").messages[0].complete.output_ids)
        self.assertEqual((IM_END, 1), (ids[-1], ids.count(IM_END)))

    def test_stream(self) -> None:
        """The same is true of streams, token by token."""
        self.make_rank()
        whole = list(self.generate("Hello!", {"seed": 7}).messages[0].complete.output_ids)
        pieces = [list(each.chunk.token_ids) for each in self.generate("Hello!", {"seed": 7}, stream=True).messages]
        self.assertEqual(whole, [token for piece in pieces for token in piece])

    def test_echo(self) -> None:
        """A rank that repeats what it is told repeats it, also what words would never be."""
        self.make_rank("--mode", "echo")
        for text in ("The naïve façade 中文 🙂!", "  \n"):
            self.assertEqual(text, self.said(self.generate(text)))

    def test_structures(self) -> None:
        """Structured outputs conform when they are read."""
        self.make_rank()
        schema = {"type": "object", "properties": {"zebra": {"enum": ["ocapi"]}}, "required": ["zebra"]}
        called = self.generate("Hello!", {"json_schema": json.dumps(schema)})
        self.assertEqual({"zebra": "ocapi"}, json.loads(self.said(called)))

    def test_other_ids(self) -> None:
        """Who brings tokens of another model is served all the same."""
        self.make_rank()
        called = self.generate([151_644, 1 << 31, (1 << 32) - 1], {"max_tokens": 3})
        self.assertEqual((Code.OK, 3), (called.code, called.messages[0].complete.prompt_tokens))

    def test_text(self) -> None:
        """A prompt in text has as many tokens as the client would count."""
        self.make_rank()
        text = "Seventeen replicas walked into a cluster."
        called = self.ask("Generate", pb.GenerateResponse, pb.GenerateRequest(text=text))
        self.assertEqual(len(TOKENIZER.encode(text).ids), called.messages[0].complete.prompt_tokens)

    def test_http(self) -> None:
        """Over HTTP the rank goes on to speak in words, before and after."""
        self.make_rank("--mode", "echo")
        text = SENTENCES[3]
        counts = [self.complete(text, max_tokens=99).json()["usage"]["prompt_tokens"]]
        self.generate(text)
        counts.append(self.complete(text, max_tokens=99).json()["usage"]["prompt_tokens"])
        self.assertEqual([len(list(split(text)))] * 2, counts)

    def test_seeds(self) -> None:
        """Answers over HTTP are the same whether anybody calls or not."""
        self.make_rank("--seed", "5")
        before = self.complete("a").json()["choices"]
        self.make_rank("--seed", "5")
        self.ask("GetModelInfo", pb.GetModelInfoResponse, pb.GetModelInfoRequest())
        self.assertEqual(before, self.complete("a").json()["choices"])

    def test_files(self) -> None:
        """The tokenizer that they fetch is the built-in one, and so are the ids that they are told."""
        self.make_rank()
        words = self.ask("GetTokenizer", common.GetTokenizerChunk, common.GetTokenizerRequest())
        info = self.told(self.ask("GetModelInfo", pb.GetModelInfoResponse, pb.GetModelInfoRequest()))
        self.assertEqual((TOKENIZER.get_vocab_size(), [IM_END]), (info.vocab_size, list(info.eos_token_ids)))
        self.make_rank("--tokenizer", "builtin")
        builtin = self.ask("GetTokenizer", common.GetTokenizerChunk, common.GetTokenizerRequest())
        self.assertEqual((Code.OK, builtin.stream.body), (words.code, words.stream.body))

    def test_changes(self) -> None:
        """What changes live holds for them too."""
        self.make_rank("--reasoning-parser", "qwen3", "--reasoning-share", "0")
        self.assertNotIn(
            8179, self.generate("a", {"max_tokens": 50, "ignore_eos": True}).messages[0].complete.output_ids
        )
        self.post("/admin/config", {"reasoning-share": 60})
        self.assertIn(8179, self.generate("a", {"max_tokens": 50, "ignore_eos": True}).messages[0].complete.output_ids)

    def test_ranks(self) -> None:
        """Every rank behind a port speaks so."""
        self.make_ranks("-dp", "2", "--data-parallel-internal-lb", "--mode", "echo")
        for rank in (0, 1):
            self.assertEqual("Grüße", self.said(self.generate("Grüße", data_parallel_rank=rank)))

    def test_dataset(self) -> None:
        """What a dataset has in words is said in these tokens."""
        path = str(make_folder(self) / "talk.sqlite3")
        fill(path, [row_of("hi", "Good ", "morning", ", ", "zebra", ".")])
        self.make_rank("--dataset-path", path)
        self.assertEqual("Good morning, zebra.", self.said(self.generate("hi")))
