"""The routes that judge, with a whole rank behind them."""

from typing import Any

from twisted.internet.task import Clock

from tests.fakes import in_thread, unfailing
from tests.harness import RankTestCase
from vllmsim.api.dialect import Settings
from vllmsim.api.labelscores import LabelScoreDialect
from vllmsim.models import ModelCatalogue
from vllmsim.tokenization.words import WordTokenizer
from vllmsim.web.answering import Answering
from vllmsim.web.labelscores import LabelScoreRoutes
from vllmsim.web.root import RankResource


class SlowClock(Clock):
    """The clock of a machine on which everything takes three milliseconds."""

    def seconds(self) -> float:
        """Tell the time, which has passed."""
        self.rightNow += 0.003
        return float(self.rightNow)


class ScoreTests(RankTestCase):
    """Scores of items."""

    def score(self, query: Any, items: Any, *labels: int, **fields: Any) -> Any:
        """Send a scoring request."""
        return self.post("/generative_scoring", {"query": query, "items": items, "label_token_ids": labels, **fields})

    def test_scores(self) -> None:
        """Every item has a score from 0 to 1, the same each time; text and ids mean the same."""
        self.make_rank("--model", "m1", "--time-to-first-token", "100ms")
        exchange = self.score("Is this the capital? ", ["Paris", "London"], 1, 2)
        self.assertEqual(0, exchange.status)
        self.clock.advance(0.1)
        answer = exchange.json()
        self.assertRegex(answer["id"], "^generative-scoring-[0-9a-f]{16}$")
        scores = [each["score"] for each in answer["data"]]
        self.assertTrue(all(0 < each < 1 for each in scores))
        self.assertNotEqual(scores[0], scores[1])
        self.assertEqual((12, 2), (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]))
        ids = [self.post("/tokenize", {"prompt": text}).json()["tokens"] for text in
               ("Is this the capital? ", "Paris", "London")]  # fmt: skip
        again = self.score(ids[0], ids[1:], 1, 2)
        self.clock.advance(0.1)
        self.assertEqual(scores, [each["score"] for each in again.json()["data"]])

    def test_work(self) -> None:
        """Every item is a sequence of its own, and takes a slot."""
        self.make_rank("--max-num-seqs", "1", "--time-to-first-token", "1s")
        self.score("q", ["a", "b", "c"], 1)
        self.assertEqual(2.0, self.sample('vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen3-0.6B"}'))
        self.clock.advance(3)

    def test_aborted(self) -> None:
        """Who is aborted before all items have a score is told so, and the journal says it too."""
        self.make_rank("--time-to-first-token", "1s", "--max-num-seqs", "1")
        exchange = self.score("q", ["a", "b"], 1)
        self.clock.advance(1)
        self.rank.simulator.abort(None)
        self.assertEqual(503, exchange.status)
        self.assertEqual("The request was aborted before all items were scored.", exchange.json()["error"]["message"])
        (record,) = self.get("/admin/requests").json()["requests"]
        self.assertEqual("aborted", record["outcome"])

    def test_long_prompts_are_cut(self) -> None:
        """A prompt is cut to leave room for a token."""
        self.make_rank("--max-model-len", "8")
        answer = self.score("a " * 20, ["b"], 1).json()
        self.assertEqual(7, answer["usage"]["prompt_tokens"])

    def test_many_items(self) -> None:
        """Where tokenizing takes long, others are served between two items."""
        self.make_rank()
        clock, tokenizer = SlowClock(), WordTokenizer(in_thread)
        models = ModelCatalogue("m1", ("m1",))
        dialect = LabelScoreDialect(Settings(models, lambda: "1", lambda: 0), 2048, tokenizer.vocabulary_size)
        answering = Answering(self.rank.simulator, {}, in_thread, unfailing())
        self.rank.site.resource = RankResource([LabelScoreRoutes(clock, answering, lambda: dialect, tokenizer).app])
        exchange = self.score("q", ["a"] * 5, 1)
        self.assertEqual((0, 1), (exchange.status, len(clock.getDelayedCalls())))
        clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(200, exchange.status)

    def test_refused(self) -> None:
        """Labels that are no tokens, too many of them, and too much text are refused."""
        self.make_rank("--max-model-len", "100k", "--max-request-body-size-mb", "8")
        for exchange, text in (
            (self.score("q", ["a"], 2**32), "out of vocabulary range"),
            (self.score("q", ["a"], *range(21)), "Requested sample logprobs of 21"),
            (self.score("q", ["a"] * 1025, 1), "At most 1024 items"),
            (self.score("a " * 2000, ["a"] * 1024, 1), "more than 1048576 tokens"),
            (self.score([2**40], [[1]], 1), "Token id 1099511627776 is out of vocabulary"),
        ):
            self.assertEqual(400, exchange.status)
            self.assertIn(text, exchange.json()["error"]["message"])

    def test_not_here(self) -> None:
        """Bodies for models that decide are still read as JSON."""
        self.make_rank()
        for path in ("/v1/decisions", "/v1/systemone"):
            self.assertEqual(501, self.post(path, {}).status)
            self.assertEqual(400, self.post(path, b"{").status)
