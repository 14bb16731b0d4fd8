"""Embedding requests."""

from tests.api.pooling.case import PoolingDialectTestCase
from vllmsim.api.pooling.embeddings import EmbeddingDialect


class EmbeddingTests(PoolingDialectTestCase):
    """Reading and writing."""

    make = EmbeddingDialect

    def test_answer(self) -> None:
        """The answer has vLLM's members in its order, nulls among them."""
        self.assertEqual(
            b'{"id":"embd-0123456789abcdef","object":"list","created":1795339833,"model":"m1","data":['
            b'{"index":0,"object":"embedding","embedding":[0.5,-0.25]},'
            b'{"index":1,"object":"embedding","embedding":[1.0,0.0]}],'
            b'"usage":{"prompt_tokens":6,"total_tokens":6,"completion_tokens":0,"prompt_tokens_details":null,'
            b'"completion_tokens_details":null}}',
            self.written({"input": ["a", "b"]}, [0.5, -0.25], [1.0, 0.0]),
        )

    def test_base64(self) -> None:
        """What the OpenAI SDK asks for is 32-bit floats, little end first on most machines."""
        written = self.written({"input": "a", "encoding_format": "base64", "endianness": "little"}, [1.0, 0.5])
        self.assertIn(b'"embedding":"AACAPwAAAD8="}', written)

    def test_dimensions(self) -> None:
        """Vectors are as long as the request says, or the server if it does not."""
        for given, expected in ((None, 4), (1, 1), (65536, 65536)):
            self.assertEqual(expected, self.parse({"input": "a", "dimensions": given}).request.dimensions)

    def test_wrong_dimensions(self) -> None:
        """Vectors of no length, and of one beyond measure, are refused."""
        for value, said in ((0, "must be greater than 0"), (-1, "must be greater than 0"), (10**15, "at most 65536")):
            status, param, message = self.refusal({"input": "a", "dimensions": value})
            self.assertEqual((400, "dimensions"), (status, param))
            self.assertIn(said, message)
        self.assertEqual("body.dimensions", self.refusal({"input": "a", "dimensions": "x"})[1])
