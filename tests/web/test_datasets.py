"""Answers from datasets, over HTTP."""

import json
import sqlite3
from typing import Any

from tests.dataset.making import DatasetTestCase, fill, ids_of, row_of
from tests.harness import Exchange, RankTestCase
from vllmsim.dataset import corpus as corpus_module
from vllmsim.dataset.records import hash_texts, make_row
from vllmsim.inference import Conversation, Message, Tokens
from vllmsim.tokenization.words import WordTokenizer

CHAT = "### user: hello\n"
EOS = 1
"""How many tokens an answer has beyond a row's when it ends by itself."""
CHAT_WORDS = ("Good ", "day ", "to ", "you.")


class DatasetRankTests(RankTestCase, DatasetTestCase):
    """What clients get."""

    def setUp(self) -> None:
        """Have a dataset, and wait for no lock."""
        super().setUp()
        self.patch(corpus_module, "PATIENCE", 0)
        self.database([row_of("hello", "I ", "am ", "fine."), row_of(CHAT, *CHAT_WORDS)])

    def start(self, *words: str) -> None:
        """Have a rank that answers from the dataset."""
        self.make_rank("m", "--dataset-path", str(self.path), *words)

    def lookups(self, result: str) -> float:
        """Tell how many lookups came to something."""
        labels = f'dataset="{self.path}",engine="0",model_name="m",result="{result}"'
        return self.sample(f"vllmsim:dataset_lookups_total{{{labels}}}")

    def fallbacks(self, reason: str) -> float:
        """Tell how many answers were random, and why."""
        labels = f'dataset="{self.path}",engine="0",model_name="m",reason="{reason}"'
        return self.sample(f"vllmsim:dataset_fallbacks_total{{{labels}}}")

    def text(self, exchange: Exchange) -> str:
        """Tell what a completion says."""
        said: str = exchange.json()["choices"][0]["text"]
        return said

    def test_completion(self) -> None:
        """A completion has the row's tokens, as many as they are, and ends by itself."""
        self.start()
        body = self.complete("hello", max_tokens=9, return_token_ids=True).json()
        choice = body["choices"][0]
        self.assertEqual(("I am fine.", "stop"), (choice["text"], choice["finish_reason"]))
        self.assertEqual([100, 101, 102, WordTokenizer.eos_id], choice["token_ids"])
        self.assertEqual((1, 0, 0), (self.lookups("hit"), self.lookups("miss"), self.lookups("fallback")))

    def test_length(self) -> None:
        """A row that is as long as the limit, or is cut there, ends by length; one that must be longer goes on."""
        self.start()
        for most, said in ((3, "I am fine."), (2, "I am ")):
            choice = self.complete("hello", max_tokens=most).json()["choices"][0]
            self.assertEqual((said, "length"), (choice["text"], choice["finish_reason"]))
        body = self.complete("hello", max_tokens=8, ignore_eos=True).json()
        self.assertEqual((8, "length"), (body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"]))
        self.assertTrue(self.text(self.complete("hello", max_tokens=8, ignore_eos=True)).startswith("I am fine."))
        body = self.complete("hello", max_tokens=9, min_tokens=5).json()
        ended = (body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"])
        self.assertEqual((5 + EOS, "stop"), ended)

    def test_surfaces(self) -> None:
        """A conversation has the same answer on every surface, whole and streamed."""
        self.start()
        expected = "".join(CHAT_WORDS)
        self.assertEqual(expected, self.chat("hello").json()["choices"][0]["message"]["content"])
        deltas = [each["choices"][0]["delta"] for each in self.chat("hello", stream=True).events() if each != "[DONE]"]
        self.assertEqual(expected, "".join(delta.get("content", "") for delta in deltas))
        message: Any = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
        self.assertEqual(expected, self.post("/v1/messages", message).json()["content"][0]["text"])
        response = self.post("/v1/responses", {"model": "m", "input": "hello"}).json()
        self.assertEqual(expected, response["output"][0]["content"][0]["text"])
        body = {"token_ids": ids_of(CHAT), "sampling_params": {"max_tokens": 9}}
        generated = self.post("/inference/v1/generate", body).json()["choices"][0]["token_ids"]
        self.assertEqual([100, 101, 102, 103, WordTokenizer.eos_id], generated)
        self.assertEqual(5, self.lookups("hit"))

    def test_older_format(self) -> None:
        """A file as the older tools made it is read too."""
        chat = hash_texts(Conversation((Message("user", "old"),)))[0]
        self.database([(chat, json.dumps(["Hel", "lo ", "you"]), 3)], "DELETE FROM llmd WHERE id < 3")
        self.start()
        body = self.chat("old").json()
        self.assertEqual("Hello you", body["choices"][0]["message"]["content"])
        self.assertEqual(2 + EOS, body["usage"]["completion_tokens"])

    def test_miss(self) -> None:
        """A prompt without an answer gets another's, of a length that will do."""
        self.start()
        self.assertEqual("I am fine.", self.text(self.complete("what?", max_tokens=3)))
        self.assertEqual("Good day to you.", self.text(self.complete("what?", min_tokens=4, max_tokens=4)))
        self.assertEqual((0, 2), (self.lookups("hit"), self.lookups("miss")))

    def test_models(self) -> None:
        """A model and an adapter have datasets of their own, also one that is loaded later."""
        paths = {name: self.folder / f"{name}.sqlite3" for name in ("a", "b")}
        for name, path in paths.items():
            fill(path, [row_of("hello", "I ", "am ", name)])
        datasets = {"a": str(paths["a"]), "b": {"path": str(paths["b"]), "in-memory": True}}
        self.start("--datasets", json.dumps(datasets), "--lora-modules", "a=/p")
        said = [self.text(self.complete("hello", model=name)) for name in ("m", "a")]
        self.assertEqual(["I am fine.", "I am a"], said)
        loaded = self.post("/v1/load_lora_adapter", {"lora_name": "b", "lora_path": "/p"})
        self.assertEqual(200, loaded.status, loaded.body)
        self.assertEqual("I am b", self.text(self.complete("hello", model="b")))

    def test_locked(self) -> None:
        """While the file is locked answers are random, and counted; once it is free they are from it again."""
        other: sqlite3.Connection = self.lock()
        self.start()
        exchange = self.complete("hello", max_tokens=3, ignore_eos=True)
        self.assertEqual((200, 3), (exchange.status, exchange.json()["usage"]["completion_tokens"]))
        self.assertNotEqual("I am fine.", self.text(exchange))
        self.assertEqual((1, 1, 0), (self.fallbacks("locked"), self.lookups("fallback"), self.fallbacks("broken")))
        other.execute("ROLLBACK")
        self.clock.advance(1)
        self.complete("hello")
        self.assertEqual("I am fine.", self.text(self.complete("hello")))
        self.path.unlink()
        self.assertEqual(200, self.complete("hello").status)
        self.assertEqual((2, 1), (self.fallbacks("locked"), self.fallbacks("broken")))

    def test_reproducible(self) -> None:
        """Requests with seeds are answered alike, whatever comes beside them."""
        rows = [make_row(ids_of("many"), Tokens([number], [f"{number}"])) for number in range(50)]
        self.database(rows)
        self.start()
        alone = [self.text(self.complete("many", seed=seed)) for seed in range(20)]
        self.start("--max-num-seqs", "64")
        bodies = [{"prompt": "many", "seed": seed} for seed in reversed(range(20))]
        exchanges = [self.connect().send("POST", "/v1/completions", json.dumps(each).encode(),
                                         Content_Type="application/json") for each in bodies]  # fmt: skip
        self.clock.advance(0)
        self.assertEqual(alone, [self.text(exchange) for exchange in reversed(exchanges)])
        self.assertGreater(len(set(alone)), 10)

    def test_without(self) -> None:
        """Without a dataset metrics say nothing of one, and an encoder opens none."""
        self.make_rank("m")
        self.assertNotIn(b"dataset", self.get("/metrics").body)
        self.make_rank("m", "--dataset-path", "/none", "--mm-encoder-only")
        self.assertNotIn(b"dataset", self.get("/metrics").body)
