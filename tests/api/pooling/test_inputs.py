"""What pooling requests have in common, seen in embedding requests."""

from typing import Any

from tests.api.pooling.case import PoolingDialectTestCase
from vllmsim.api.body import Head
from vllmsim.api.pooling.embeddings import EmbeddingDialect
from vllmsim.inference import Conversation, Cut, Message, TextPrompt, TokenPrompt

JSON = "application/json"
HI = [{"role": "user", "content": "hi"}]


class InputTests(PoolingDialectTestCase):
    """The forms of inputs."""

    make = EmbeddingDialect

    def prompts(self, body: Any) -> list[Any]:
        """List the prompts of a body."""
        return [each.prompt for each in self.parse(body).request.inputs]

    def test_forms(self) -> None:
        """Inputs are a text, texts, ids, lists of ids, or a conversation."""
        a, b = TextPrompt("a"), TextPrompt("b")
        self.assertEqual([a], self.prompts({"input": "a"}))
        self.assertEqual([a, b], self.prompts({"input": ["a", "b"]}))
        self.assertEqual([TextPrompt("1"), TextPrompt("2")], self.prompts({"input": ["1", "2"]}))
        self.assertEqual([TokenPrompt((1, 2))], self.prompts({"input": [1, 2.0]}))
        self.assertEqual([TokenPrompt((1, 2)), TokenPrompt(())], self.prompts({"input": [[1, 2], []]}))
        self.assertEqual([Conversation((Message("user", "hi"),))], self.prompts({"messages": HI}))

    def test_input_comes_first(self) -> None:
        """Of an input and messages the input counts, whatever the messages are."""
        self.assertEqual([TextPrompt("a")], self.prompts({"input": "a", "messages": 1}))
        self.assertEqual([Conversation((Message("user", "hi"),))], self.prompts({"input": None, "messages": HI}))

    def test_no_input(self) -> None:
        """Without inputs both forms are named; an empty list and an empty conversation are none."""
        status, param, message = self.refusal({"model": "m1"})
        self.assertEqual((400, "body.input"), (status, param))
        self.assertIn("'loc': 'body.messages', 'msg': 'Field required'", message)
        self.assertEqual((400, None, "You must pass at least one prompt"), self.refusal({"input": []}))
        self.assertIn("empty conversation", self.refusal({"messages": []})[2])

    def test_wrong_types(self) -> None:
        """An input of another type, or of several, is refused with the place."""
        for value, param in ((5, "input"), ({}, "input"), (["a", 1], "input.0"), ([[1], ["x"]], "input.0")):
            status, place, message = self.refusal({"input": value})
            self.assertEqual((400, f"body.{param}"), (status, place))
            self.assertIn("validation errors:", message)
        self.assertEqual("body.messages", self.refusal({"messages": "x"})[1])
        self.assertEqual("body.priority", self.refusal({"input": "a", "priority": 2**63})[1])

    def test_many(self) -> None:
        """More than 2048 inputs are refused; a list of ids may be longer."""
        self.assertEqual(2048, len(self.prompts({"input": ["a"] * 2048})))
        self.assertEqual(
            "At most 2048 inputs are allowed, got 2049. (parameter=input, value=2049)",
            self.refusal({"input": ["a"] * 2049})[2],
        )
        self.assertEqual(1, len(self.prompts({"input": [1] * 3000})))

    def test_templates(self) -> None:
        """A chat template in the request is refused, and so is an answer that begins anew and goes on."""
        for more in ({"chat_template": "x"}, {"chat_template_kwargs": {"chat_template": "x"}}):
            self.assertIn("Refused request with untrusted chat template.", self.refusal({"messages": HI, **more})[2])
        both = {"continue_final_message": True, "add_generation_prompt": True}
        self.assertIn("Cannot set both", self.refusal({"messages": HI, **both})[2])
        self.parse({"messages": HI, "chat_template_kwargs": {"x": 1}})

    def test_removed(self) -> None:
        """What older releases took is refused with what to use instead."""
        self.assertEqual(
            (
                400,
                "normalize",
                "Parameter `normalize` was removed; use `use_activation` instead. (parameter=normalize)",
            ),
            self.refusal({"input": "a", "normalize": True}),
        )
        self.assertIn("use `classify` instead", self.refusal({"input": "a", "task": "score"})[2])
        self.assertEqual("cache_salt", self.refusal({"input": "a", "cache_salt": "a@b"})[1])


class FieldTests(PoolingDialectTestCase):
    """The other fields."""

    make = EmbeddingDialect

    def cuts(self, **fields: Any) -> tuple[Cut, ...]:
        """Find out how inputs are shortened."""
        [read] = self.parse({"input": "a", **fields}).request.inputs
        return read.cuts

    def test_truncation(self) -> None:
        """Inputs keep their beginning unless the request wants the end; -1 is as much as the context holds."""
        self.assertEqual((), self.cuts())
        self.assertEqual((Cut(5),), self.cuts(truncate_prompt_tokens=5))
        self.assertEqual((Cut(256),), self.cuts(truncate_prompt_tokens=-1))
        self.assertEqual((Cut(5, "left"),), self.cuts(truncate_prompt_tokens=5, truncation_side="left"))

    def test_truncation_errors(self) -> None:
        """More than the context and less than -1 are refused."""
        status, param, message = self.refusal({"input": "a", "truncate_prompt_tokens": 257})
        self.assertEqual((400, None), (status, param))
        self.assertTrue(message.startswith("truncate_prompt_tokens value is greater than max_model_len."))
        self.assertEqual("body.truncate_prompt_tokens", self.refusal({"input": "a", "truncate_prompt_tokens": -2})[1])

    def test_model(self) -> None:
        """Any served name, none and an empty one will do; for another the error has no list of names."""
        for model in ("m1", "m2", None, ""):
            self.assertIn(b'"model":"m1"', self.written({"input": "a", "model": model}, [1.0]))
        self.assertEqual((404, None, "The model `zz` does not exist."), self.refusal({"input": "a", "model": "zz"}))

    def test_request_id(self) -> None:
        """The answer's id is the header's, else the body's, else a new one."""
        body = {"input": "a", "request_id": "b"}
        for head, request, expected in (
            (Head(JSON, "h"), body, b"embd-h"),
            (Head(JSON), body, b"embd-b"),
            (Head(JSON), {"input": "a"}, b"embd-0123456789abcdef"),
        ):
            [piece, *_] = self.parse(request, head).write([]).pieces
            self.assertIn(b'{"id":"%s",' % expected, piece)

    def test_padding(self) -> None:
        """Inputs that are padded count as many tokens as the context holds."""
        self.assertIn(b'"total_tokens":3,', self.written({"input": "a", "padding": "do_not_pad"}, [1.0]))
        self.assertIn(b'"total_tokens":512,', self.written({"input": "a", "padding": "max_length"}, [1.0], [1.0]))

    def test_unknown_fields(self) -> None:
        """Fields that nobody knows, and those without a meaning here, are accepted."""
        self.parse(
            {"input": "a", "user": "u", "priority": 3, "add_special_tokens": False, "x": 1, "use_activation": False}
        )
