"""Embeddings of the daemon, as the official OpenAI SDK and plain HTTP see them."""

import json
import math
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from operator import mul
from typing import Any

import openai

from tests.integration.daemon import PATIENCE, DaemonTestCase

TEXTS = ["The cat sat on the mat.", "Where is the cat?", "Revenue rose, again."]


def cosine(first: list[float], second: list[float]) -> float:
    """Compare two vectors of length one."""
    return float(sum(map(mul, first, second)))


class EmbeddingTests(DaemonTestCase):
    """What the SDK makes of the answers."""

    words = ("--model", "m", "--served-model-name", "m1", "m2", "--max-model-len", "4000")

    def setUp(self) -> None:
        """Have a client that does not retry."""
        self.client = openai.OpenAI(base_url=self.daemon.url("/v1"), api_key="x", max_retries=0)
        self.addCleanup(self.client.close)

    def embed(self, value: Any, **fields: Any) -> list[list[float]]:
        """Ask for embeddings."""
        answer = self.client.embeddings.create(model="m2", input=value, **fields)
        self.assertEqual((list(range(len(answer.data))), "m1"), ([entry.index for entry in answer.data], answer.model))
        return [entry.embedding for entry in answer.data]

    def test_default(self) -> None:
        """The SDK asks for base 64 by itself, and what it decodes has the length one."""
        vectors = self.embed(TEXTS)
        self.assertEqual([384] * 3, [len(vector) for vector in vectors])
        for vector in vectors:
            self.assertApproximates(1.0, math.sqrt(cosine(vector, vector)), 1e-6)
        self.assertGreater(cosine(vectors[0], vectors[1]), cosine(vectors[0], vectors[2]) + 0.1)

    def test_float(self) -> None:
        """As numbers the vectors are the same."""
        self.assertEqual(self.embed(TEXTS), self.embed(TEXTS, encoding_format="float"))

    def test_dimensions(self) -> None:
        """Vectors are as long as asked for."""
        for dimensions in (1, 256, 3072, 65536):
            [vector] = self.embed("a cat", dimensions=dimensions)
            self.assertEqual(dimensions, len(vector))

    def test_ids(self) -> None:
        """Token ids are inputs too, one list or several."""
        [one] = self.embed([1, 2, 3])
        self.assertEqual([one, one], self.embed([[1, 2, 3], [3, 2, 1]]))

    def test_usage(self) -> None:
        """Tokens are counted."""
        usage = self.client.embeddings.create(model="m1", input=["Hello world!", "Hi"]).usage
        self.assertEqual((4, 4), (usage.prompt_tokens, usage.total_tokens))

    def test_errors(self) -> None:
        """Errors are the SDK's."""
        with self.assertRaises(openai.NotFoundError) as missing:
            self.client.embeddings.create(model="zz", input="a")
        self.assertIn("The model `zz` does not exist.", missing.exception.message)
        with self.assertRaises(openai.BadRequestError) as long:
            self.embed("a " * 5000)
        self.assertEqual("input_tokens", long.exception.param)
        with self.assertRaises(openai.BadRequestError) as wide:
            self.embed("a", dimensions=10**15)
        self.assertEqual("dimensions", wide.exception.param)

    def test_batch(self) -> None:
        """The largest batch comes whole, as base 64 and as numbers."""
        texts = [f"text {number} of many" for number in range(2048)]
        packed, plain = self.embed(texts, dimensions=512), self.embed(texts, dimensions=512, encoding_format="float")
        self.assertEqual(packed, plain)
        self.assertEqual(2048, len({tuple(vector) for vector in plain}))

    def test_others_go_on(self) -> None:
        """While long answers are made and read, others are answered."""
        body = json.dumps({"input": [f"{number} " * 3000 for number in range(64)], "dimensions": 65536}).encode()
        answered = 0
        with ThreadPoolExecutor(2) as pool:
            busy = [pool.submit(self.fetch, "/v1/embeddings", body) for _ in range(2)]
            while not all(each.done() for each in busy):
                self.daemon.get("/health")
                answered += 1
        self.assertEqual([64, 64], [len(json.loads(each.result())["data"]) for each in busy])
        self.assertGreater(answered, 10)

    def test_rerank(self) -> None:
        """Documents are ranked."""
        body = json.dumps({"query": "the cat", "documents": TEXTS}).encode()
        self.assertEqual([0, 1, 2], [each["index"] for each in json.loads(self.fetch("/v2/rerank", body))["results"]])

    def test_another_daemon(self) -> None:
        """Another daemon makes the same vectors."""
        vectors = self.embed(TEXTS)
        other = self.start("--model", "m", "--runner", "pooling")
        other.wait()
        with openai.OpenAI(base_url=other.url("/v1"), api_key="x", max_retries=0) as client:
            answer = client.embeddings.create(model="m", input=TEXTS)
            self.assertEqual(vectors, [entry.embedding for entry in answer.data])
            with self.assertRaises(openai.NotFoundError):
                client.completions.create(model="m", prompt="a")

    def fetch(self, path: str, body: bytes) -> bytes:
        """Make a POST request."""
        request = urllib.request.Request(self.daemon.url(path), body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=3 * PATIENCE) as response:
            return bytes(response.read())
