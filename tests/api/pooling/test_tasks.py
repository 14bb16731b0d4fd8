"""Pooling and classification requests."""

import json

from tests.api.pooling.case import PoolingDialectTestCase
from vllmsim.api.pooling.tasks import ClassificationDialect, PoolingTaskDialect


class PoolingTaskTests(PoolingDialectTestCase):
    """``/pooling``."""

    make = PoolingTaskDialect

    def test_tasks(self) -> None:
        """Four tasks are done, and embedding is the one if none is named."""
        for task in ("embed", "classify", "token_embed", "token_classify"):
            self.assertEqual(task, self.parse({"input": "a", "task": task}).request.task)
        self.assertEqual(
            ("embed", 4), (self.parse({"input": "a"}).request.task, self.parse({"input": "a"}).request.dimensions)
        )

    def test_other_tasks(self) -> None:
        """Tasks of vLLM's that are not done, that were removed and that never were are refused."""
        self.assertIn(
            "Unsupported task: 'plugin' Supported tasks: ('embed',", self.refusal({"input": "a", "task": "plugin"})[2]
        )
        self.assertEqual("task", self.refusal({"input": "a", "task": "embed&token_classify"})[1])
        self.assertIn("use `token_embed` or", self.refusal({"input": "a", "task": "encode"})[2])
        self.assertEqual((400, "body.task"), self.refusal({"input": "a", "task": "foo"})[:2])

    def test_dimensions(self) -> None:
        """Vectors have the server's length here; vLLM takes no other."""
        self.assertEqual(
            (400, "dimensions", "dimensions is currently not supported (parameter=dimensions)"),
            self.refusal({"input": "a", "dimensions": 4}),
        )

    def test_activation(self) -> None:
        """Classes have probabilities unless the request wants logits."""
        for given, expected in ((None, True), (True, True), (False, False)):
            body = {"input": "a", "task": "classify", "use_activation": given}
            self.assertEqual(expected, self.parse(body).request.activation)


class ClassificationTests(PoolingDialectTestCase):
    """``/classify``."""

    make = ClassificationDialect

    def test_answer(self) -> None:
        """Each input has its most probable label."""
        answer = json.loads(self.written({"input": ["a", "b"]}, [0.75, 0.25], [0.5, 0.5]))
        self.assertEqual(
            [
                {"index": 0, "label": "LABEL_0", "probs": [0.75, 0.25], "num_classes": 2},
                {"index": 1, "label": "LABEL_0", "probs": [0.5, 0.5], "num_classes": 2},
            ],
            answer["data"],
        )
        self.assertEqual(["id", "object", "created", "model", "data", "usage"], list(answer))
        self.assertEqual("classify-0123456789abcdef", answer["id"])
        self.assertIn(b'"label":"LABEL_1"', self.written({"input": "a"}, [0.25, 0.75]))

    def test_request(self) -> None:
        """The task is to classify, with or without an activation."""
        self.assertEqual(
            ("classify", True), (self.parse({"input": "a"}).request.task, self.parse({"input": "a"}).request.activation)
        )
        self.assertFalse(self.parse({"input": "a", "use_activation": False}).request.activation)
        self.assertEqual("body.input", self.refusal({"input": 1})[1])
