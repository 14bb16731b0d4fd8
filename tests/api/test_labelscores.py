"""How likely tokens are as the next one."""

import json
import math
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, answer, prompt, settings
from vllmsim.api.body import Head
from vllmsim.api.labelscores import LabelScoreDialect, Scoring, score
from vllmsim.errors import InvalidParameter, InvalidRequest, MalformedRequest, UnknownModel
from vllmsim.inference import Prefill, TokenPrompt


class ScoreTests(SynchronousTestCase):
    """The numbers."""

    def test_among_labels(self) -> None:
        """Among the labels alone, their chances add up to one; a single label is certain."""
        labels = [3, 4, 5]
        chances = [score([1, 2], labels[i:] + labels[:i], among_labels=True) for i in range(3)]
        self.assertAlmostEqual(1.0, sum(chances))
        self.assertEqual(1.0, score([1], [7], among_labels=True))

    def test_among_all_tokens(self) -> None:
        """Among all tokens a label's chance depends on no other label, and is less than among labels."""
        alone, beside = score([1, 2], [3], among_labels=False), score([1, 2], [3, 4], among_labels=False)
        self.assertEqual(alone, beside)
        self.assertLess(beside, score([1, 2], [3, 4], among_labels=True))
        for token in range(100):
            self.assertTrue(math.exp(-10) <= score([token], [3], among_labels=False) <= math.exp(-1))

    def test_repeatable(self) -> None:
        """Equal prompts and labels have equal scores, in every process; others have others."""
        self.assertEqual(0.07914333, round(score([1, 2], [3], among_labels=False), 8))
        self.assertNotEqual(score([1, 2], [3, 4], among_labels=True), score([2, 1], [3, 4], among_labels=True))


class DialectTests(SynchronousTestCase):
    """Requests and answers."""

    def read(self, head: Head = HEAD, **fields: Any) -> Scoring:
        """Read a request."""
        asked = {"query": "q", "items": ["a", "b"], "label_token_ids": [1, 2], **fields}
        return LabelScoreDialect(settings(), 8, 100).read(json.dumps(asked).encode(), head)

    def test_answer(self) -> None:
        """Every item has a score, in order; each prompt and each step is counted."""
        call = self.read().call([TokenPrompt((5, 6)), TokenPrompt((5, 7, 8))])
        self.assertEqual((1, 2), (call.request.sampling.max_tokens, call.request.sampling.logprobs))
        whole = call.whole_encoder().body(
            [prompt([5, 6]), prompt([5, 7, 8])],
            Prefill(2),
            [answer(71), answer(72)],
        )
        sent = json.loads(whole)
        self.assertEqual(["id", "object", "created", "model", "data", "usage"], list(sent))
        self.assertEqual(
            ("generative-scoring-0123456789abcdef", "list", "m1"), (sent["id"], sent["object"], sent["model"])
        )
        expected = [score(ids, [1, 2], among_labels=True) for ids in ([5, 6], [5, 7, 8])]
        self.assertEqual(
            [{"index": i, "object": "score", "score": each} for i, each in enumerate(expected)], sent["data"]
        )
        self.assertEqual((5, 7, 2), tuple(sent["usage"][f"{k}_tokens"] for k in ("prompt", "total", "completion")))

    def test_prompts(self) -> None:
        """A prompt is the query and an item, in either order, cut to leave room for a token."""
        self.assertEqual(TokenPrompt((1, 2, 3)), self.read().join([1, 2], [3]))
        self.assertEqual(TokenPrompt((3, 1, 2)), self.read(item_first=True).join([1, 2], [3]))
        self.assertEqual(TokenPrompt((1, 1, 1, 1, 1, 2, 2)), self.read().join([1] * 5, [2] * 5))

    def test_names(self) -> None:
        """The id is the client's if it has one."""
        for head, fields in ((Head("application/json", "h"), {"request_id": "b"}), (HEAD, {"request_id": "h"})):
            self.assertEqual("h", self.read(head, **fields).call([TokenPrompt((1,))]).request.request_id)

    def test_refused(self) -> None:
        """What is missing, empty, no token or too much is refused."""
        for fields, kind, text in (
            ({"query": None}, MalformedRequest, "'loc': 'body.query'"),
            ({"items": ["a", [1]]}, MalformedRequest, "'loc': 'body.items"),
            ({"items": []}, InvalidRequest, "items must contain at least one item."),
            ({"label_token_ids": []}, InvalidRequest, "label_token_ids must contain at least one token ID."),
            ({"label_token_ids": [5, 100]}, InvalidRequest, "label_token_id 100 is out of vocabulary range [0, 100)."),
            ({"label_token_ids": [-1]}, InvalidRequest, "out of vocabulary"),
            ({"items": ["a"] * 1025}, InvalidParameter, "At most 1024 items are allowed, got 1025."),
            ({"label_token_ids": [1] * 1025}, InvalidParameter, "At most 1024 labels are allowed, got 1025."),
            ({"model": "zzz"}, UnknownModel, "zzz"),
        ):
            error = self.assertRaises(kind, self.read, **fields)
            self.assertIn(text, error.message)
        self.read().check(1 << 20)
        self.assertRaises(InvalidParameter, self.read().check, (1 << 20) + 1)
