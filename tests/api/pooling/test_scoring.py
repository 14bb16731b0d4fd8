"""Score and rerank requests."""

import json
from typing import Any

from tests.api.golden import settings
from tests.api.pooling.case import PoolingDialectTestCase
from vllmsim.api.pooling.inputs import PoolingSettings
from vllmsim.api.pooling.scoring import RerankDialect, ScoreDialect
from vllmsim.inference import Cut, TextPrompt

PICTURE = {
    "content": [{"type": "text", "text": "a cat"}, {"type": "image_url", "image_url": {"url": "http://x/c.png"}}]
}


class ScoreTests(PoolingDialectTestCase):
    """``/score``."""

    make = ScoreDialect

    def texts(self, body: Any) -> tuple[int, list[str]]:
        """Find out how many queries there are, and all texts."""
        request = self.parse(body).request
        self.assertEqual(("score", True), (request.task, request.empty))
        return request.queries, [each.prompt.text for each in request.inputs if isinstance(each.prompt, TextPrompt)]

    def test_names(self) -> None:
        """The two sides have any of four pairs of names."""
        for first, second in (
            ("queries", "documents"),
            ("queries", "items"),
            ("data_1", "data_2"),
            ("text_1", "text_2"),
        ):
            self.assertEqual((1, ["q", "a", "b"]), self.texts({first: "q", second: ["a", "b"]}))
        self.assertEqual((1, ["q", "a"]), self.texts({"text_1": "q", "text_2": "a", "queries": "x"}))

    def test_sides(self) -> None:
        """One goes with many, and as many with as many."""
        self.assertEqual((2, ["p", "q", "a", "b"]), self.texts({"data_1": ["p", "q"], "data_2": ["a", "b"]}))
        self.assertEqual((1, ["q", "a"]), self.texts({"data_1": ["q"], "data_2": "a"}))
        for first, second, said in (
            (["p", "q"], ["a", "b", "c"], "Input lengths must be either 1:1, 1:N or N:N"),
            (["p", "q"], "a", "Input lengths must be either 1:1, 1:N or N:N"),
            ([], ["a"], "At least one text element must be given"),
            (["q"], [], "At least one text_pair element must be given"),
        ):
            self.assertEqual((400, None, said), self.refusal({"data_1": first, "data_2": second}))

    def test_parts(self) -> None:
        """A side may be content of several parts, with images if the model sees."""
        self.assertEqual(
            (1, ["q", "a cat\nimage: http://x/c.png", "b"]), self.texts({"queries": "q", "items": [PICTURE, "b"]})
        )
        self.dialect = ScoreDialect(PoolingSettings(settings(multimodal=False), 256, 4))
        self.assertEqual(
            (400, None, "MultiModalParam is not supported for m1"), self.refusal({"queries": "q", "items": [PICTURE]})
        )

    def test_missing(self) -> None:
        """A side that is missing is named; without any, all names are."""
        self.assertEqual((400, "body.data_2"), self.refusal({"data_1": "a"})[:2])
        self.assertEqual((400, "body.text_1"), self.refusal({"text_2": "a"})[:2])
        self.assertIn("7 validation errors", self.refusal({})[2])
        self.assertEqual("body.items", self.refusal({"queries": "a", "items": 5})[1])

    def test_many(self) -> None:
        """No more than 2048 documents are scored."""
        self.parse({"data_1": "a", "data_2": ["b"] * 2048})
        self.assertIn("At most 2048", self.refusal({"data_1": "a", "data_2": ["b"] * 2049})[2])

    def test_limits(self) -> None:
        """Queries and documents are shortened each to its own length, then both as all inputs are."""
        body = {"queries": "q", "documents": "d", "max_tokens_per_query": 3, "max_tokens_per_doc": 5}
        request = self.parse({**body, "truncate_prompt_tokens": 2, "truncation_side": "left"}).request
        self.assertEqual([(Cut(3), Cut(2, "left")), (Cut(5), Cut(2, "left"))], [each.cuts for each in request.inputs])
        self.assertEqual([(), ()], [each.cuts for each in self.parse({"queries": "q", "items": "d"}).request.inputs])

    def test_wrong_limits(self) -> None:
        """Limits below nothing and beyond the context are refused."""
        for name in ("max_tokens_per_query", "max_tokens_per_doc"):
            body = {"queries": "q", "documents": "d"}
            self.assertEqual(f"{name} must be a non-negative integer", self.refusal({**body, name: -1})[2])
            self.assertEqual(
                f"{name} (256) must be less than max_model_len (256).", self.refusal({**body, name: 256})[2]
            )

    def test_answer(self) -> None:
        """Each pair has its score."""
        written = self.written({"data_1": "a", "data_2": ["b", "c"]}, [0.5], [1.0])
        self.assertTrue(
            written.startswith(
                b'{"id":"score-0123456789abcdef","object":"list","created":1795339833,"model":"m1","data":['
                b'{"index":0,"object":"score","score":0.5},{"index":1,"object":"score","score":1.0}],'
                b'"usage":{"prompt_tokens":6,'
            )
        )

    def test_model(self) -> None:
        """A model that is not served is refused before the sides are looked at."""
        self.assertEqual(404, self.refusal({"data_1": [], "data_2": [], "model": "zz"})[0])
        self.assertEqual("normalize", self.refusal({"data_1": "a", "data_2": "b", "normalize": 1})[1])


class RerankTests(PoolingDialectTestCase):
    """``/rerank``."""

    make = RerankDialect

    def test_answer(self) -> None:
        """Documents come in the order of their relevance, those of the same in their own."""
        written = self.written({"query": "q", "documents": ["a", "b", PICTURE]}, [0.25], [0.5], [0.5])
        self.assertEqual(
            {
                "id": "score-0123456789abcdef",
                "model": "m1",
                "usage": {"prompt_tokens": 9, "total_tokens": 9},
                "results": [
                    {"index": 1, "document": {"text": "b", "multi_modal": None}, "relevance_score": 0.5},
                    {"index": 2, "document": {"text": None, "multi_modal": PICTURE["content"]}, "relevance_score": 0.5},
                    {"index": 0, "document": {"text": "a", "multi_modal": None}, "relevance_score": 0.25},
                ],
            },
            json.loads(written),
        )
        self.assertTrue(written.startswith(b'{"id":"score-0123456789abcdef","model":"m1","usage":{'))

    def test_top(self) -> None:
        """No more are shown than the request wants, and all tokens count; 0 is all."""
        for top, expected in ((0, [1, 0]), (1, [1]), (2, [1, 0]), (10**9, [1, 0])):
            answer = json.loads(self.written({"query": "q", "documents": ["a", "b"], "top_n": top}, [0.0], [1.0]))
            self.assertEqual(
                (expected, 6), ([each["index"] for each in answer["results"]], answer["usage"]["total_tokens"])
            )

    def test_errors(self) -> None:
        """What is missing or wrong is named."""
        self.assertEqual((400, "body.query"), self.refusal({"documents": ["a"]})[:2])
        self.assertEqual((400, "body.query"), self.refusal({"query": ["q"], "documents": ["a"]})[:2])
        self.assertEqual((400, "body.documents"), self.refusal({"query": "q"})[:2])
        self.assertEqual((400, "body.top_n"), self.refusal({"query": "q", "documents": ["a"], "top_n": -1})[:2])
        self.assertIn("At least one text_pair", self.refusal({"query": "q", "documents": []})[2])
        many = self.refusal({"query": "q", "documents": ["a"] * 2049})
        self.assertEqual((400, "documents", "At most 2048 inputs are allowed"), (*many[:2], many[2][:31]))
        removed = self.refusal({"query": "q", "documents": ["a"], "normalize": True})
        self.assertEqual((400, "normalize"), removed[:2])
        self.assertEqual((404, None), self.refusal({"query": "q", "documents": ["a"], "model": "zz"})[:2])
