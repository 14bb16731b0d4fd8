"""Cohere's embedding requests."""

import json
from typing import Any

from tests.api.pooling.case import PoolingDialectTestCase
from vllmsim.api.pooling.cohere import CohereDialect
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Conversation, Cut, TextPrompt
from vllmsim.pooling import Pooled

IMAGE = {"type": "image_url", "image_url": {"url": "http://x/c.png"}}


class CohereTests(PoolingDialectTestCase):
    """Reading and writing."""

    make = CohereDialect

    def answer(self, body: Any, *pooled: list[float]) -> Any:
        """Read the answer to a body."""
        return json.loads(self.written(body, *pooled))

    def test_answer(self) -> None:
        """The answer has Cohere's members, the texts among them."""
        self.assertEqual(
            b'{"id":"embd-0123456789abcdef","embeddings":{"float":[[0.5,-0.5],[1.0,0.0]]},"texts":["a","b"],'
            b'"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":6,"image_tokens":0}},'
            b'"response_type":"embeddings_by_type"}',
            self.written({"texts": ["a", "b"], "input_type": "search_document"}, [0.5, -0.5], [1.0, 0.0]),
        )

    def test_types(self) -> None:
        """Vectors are written in each type that is asked for, always in the same order."""
        numbers = [1.0, -1.0, 0.0, 0.5, -0.5, 1.0, 1.0, -1.0]
        body = {"texts": ["a"], "output_dimension": 8, "embedding_types": ["base64", "ubinary", "binary", "float"]}
        embeddings = self.answer(body, numbers)["embeddings"]
        self.assertEqual(["float", "binary", "ubinary", "base64"], list(embeddings))
        self.assertEqual([[[0b10110110 - 128]], [[0b10110110]]], [embeddings["binary"], embeddings["ubinary"]])
        self.assertEqual([numbers], embeddings["float"])
        self.assertTrue(embeddings["base64"][0].startswith("AACAPwAAgL8A"))
        self.assertEqual(["float"], list(self.answer({"texts": ["a"], "embedding_types": []}, numbers)["embeddings"]))

    def test_bits(self) -> None:
        """A bit for each number makes whole bytes only of eight."""
        body = {"texts": ["a"], "output_dimension": 12, "embedding_types": ["binary"]}
        self.assertIn("must be a multiple of 8 for binary embedding types, but got 12.", self.refusal(body)[2])
        self.assertIn("but got 4.", self.refusal({"texts": ["a"], "embedding_types": ["ubinary"]})[2])

    def test_inputs(self) -> None:
        """Texts are texts; images, and inputs of several parts, are conversations."""
        mixed = {"content": [{"type": "text", "text": "a"}, IMAGE]}
        for name, value, expected in (
            ("texts", "a", "a"),
            ("images", "http://x/c.png", "image: http://x/c.png"),
            ("inputs", mixed, "a\nimage: http://x/c.png"),
        ):
            [read] = self.parse({name: [value]}).request.inputs
            prompt = read.prompt
            assert isinstance(prompt, TextPrompt if name == "texts" else Conversation)
            self.assertEqual(expected, prompt.text if isinstance(prompt, TextPrompt) else prompt.messages[0].text)

    def test_billing(self) -> None:
        """Where there are images, the tokens are theirs, and no texts are repeated."""
        for body, expected in (
            ({"images": ["http://x/c.png"]}, [0, 3]),
            ({"inputs": [{"content": [IMAGE]}]}, [0, 3]),
            ({"inputs": [{"content": [{"type": "text", "text": "a"}]}]}, [3, 0]),
        ):
            answer = self.answer(body, [1.0])
            self.assertEqual(expected, list(answer["meta"]["billed_units"].values()))
            self.assertNotIn("texts", answer)

    def test_one_of_three(self) -> None:
        """There is one kind of inputs, and not none of it."""
        bodies: list[dict[str, list[str]]] = [{}, {"texts": []}, {"texts": ["a"], "images": ["b"]}]
        for body in bodies:
            status, param, message = self.refusal(body)
            self.assertEqual((400, "body"), (status, param))
            self.assertIn("Exactly one of texts, images, or inputs must be provided", message)

    def test_parts(self) -> None:
        """A part has what its type says."""
        for part in ({"type": "text"}, {"type": "image_url"}, {"type": "image_url", "image_url": {"url": ""}}, {}):
            status, param, _ = self.refusal({"inputs": [{"content": [part]}]})
            self.assertEqual((400, "body.inputs.0.content.0"), (status, (param or "").removesuffix(".type")))
        many = {"content": [{"type": "text", "text": "a"}] * 1025}
        self.assertEqual((400, "body.inputs.0.content"), self.refusal({"inputs": [many]})[:2])

    def test_truncation(self) -> None:
        """Inputs lose their end, their beginning, or nothing."""
        for fields, expected in (
            ({}, (Cut(256),)),
            ({"max_tokens": 5}, (Cut(5),)),
            ({"truncate": "START"}, (Cut(256, "left"),)),
            ({"truncate": "START", "max_tokens": 5}, (Cut(5, "left"),)),
            ({"truncate": "NONE"}, ()),
            ({"truncate": "NONE", "max_tokens": 500}, ()),
        ):
            [read] = self.parse({"texts": ["a"], **fields}).request.inputs
            self.assertEqual(expected, read.cuts)
        for limit in (-1, 257):
            self.assertEqual((400, "max_tokens"), self.refusal({"texts": ["a"], "max_tokens": limit})[:2])

    def test_no_truncation(self) -> None:
        """What is longer than it may be, and must not be cut, is refused."""
        call = self.parse({"texts": ["a"], "truncate": "NONE", "max_tokens": 3})
        call.write([Pooled(3, [[1.0]])])
        error = self.assertRaises(InvalidRequest, call.write, [Pooled(4, [[1.0]])])
        self.assertIn("Input of 4 tokens exceeds max_tokens=3 with truncate=NONE.", str(error))

    def test_fields(self) -> None:
        """Other fields are checked too."""
        for fields, expected in (
            ({"input_type": "poem"}, (400, None)),
            ({"model": "zz"}, (404, None)),
            ({"output_dimension": 0}, (400, "output_dimension")),
            ({"output_dimension": 65537}, (400, "output_dimension")),
            ({"truncate": "MIDDLE"}, (400, "body.truncate")),
            ({"embedding_types": ["int3"]}, (400, "body.embedding_types.0")),
        ):
            self.assertEqual(expected, self.refusal({"texts": ["a"], **fields})[:2])
        self.assertIn("At most 2048", self.refusal({"texts": ["a"] * 2049})[2])
        self.assertEqual(8, self.parse({"texts": ["a"], "output_dimension": 8}).request.dimensions)
