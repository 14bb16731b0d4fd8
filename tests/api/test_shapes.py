"""The shapes of answers: what a real vLLM sent fits them."""

import json
import re
from typing import Any

from jsonschema_rs import Draft202012Validator
from pydantic import TypeAdapter
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import recorded
from vllmsim.api.shapes.chat import ChatCompletion, ChatCompletionChunk
from vllmsim.api.shapes.completions import Completion, CompletionChunk
from vllmsim.api.shapes.errors import ErrorBody
from vllmsim.api.shapes.generate import Generated, GeneratedChunk, RenderedRequest
from vllmsim.api.shapes.messages import AnthropicMessage, MessageEvent, TokenCount
from vllmsim.api.shapes.responses import ResponseEvent, ResponseObject
from vllmsim.api.shapes.server import Detokenized, ModelCards, Tokenized


def closed(schema: Any) -> Any:
    """Let the objects of a schema have no member that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    written = {name: closed(each) for name, each in schema.items()}
    return written | ({"additionalProperties": False} if "properties" in schema else {})


class ShapeTests(SynchronousTestCase):
    """Recordings against shapes."""

    def check(self, shape: Any, values: list[Any]) -> None:
        """Check that values fit a shape, and that they have no members beside it."""
        validator = Draft202012Validator(closed(TypeAdapter(shape).json_schema()))
        self.assertTrue(values)
        for value in values:
            self.assertEqual([], [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)])

    def wholes(self, name: str) -> list[Any]:
        """Read the answers of a recording that are in one piece."""
        return [json.loads(line) for line in recorded(name).decode().splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[Any]:
        """Read the events of a recording."""
        return [json.loads(data) for data in re.findall(r"^data: (\{.*)$", recorded(name).decode(), re.MULTILINE)]

    def test_chat(self) -> None:
        """Recorded chat completions fit."""
        for name in ("chat", "chat_lp", "eos_lp", "batch", "toolns"):
            self.check(ChatCompletion, self.wholes(name))
        for name in (
            "chatstream",
            "chatstream_cont",
            "chatstream_lp_ids",
            "chatstream_usage",
            "eos_lp_stream",
            "n2",
            "toolstream",
        ):
            self.check(ChatCompletionChunk, self.events(name))

    def test_completions(self) -> None:
        """Recorded completions fit."""
        for name in ("comp", "stoptok"):
            self.check(Completion, self.wholes(name))
        for name in ("compstream", "compstream_cont", "compstream_nousage_lp", "eos_comp_lp_stream"):
            self.check(CompletionChunk, self.events(name))

    def test_responses(self) -> None:
        """Recorded responses fit."""
        for name in ("resp", "resp_inc", "resp_tool"):
            self.check(ResponseObject, self.wholes(name))
        for name in ("respstream", "resp_tool_stream"):
            self.check(ResponseEvent, self.events(name))

    def test_messages(self) -> None:
        """Recorded messages and counts of their tokens fit."""
        for name in ("msg", "msg_tool"):
            self.check(AnthropicMessage, self.wholes(name))
        for name in ("msgstream", "msg_tool_stream"):
            self.check(MessageEvent, self.events(name))
        self.check(TokenCount, self.wholes("ctok"))

    def test_generate(self) -> None:
        """Recorded answers in token ids fit, and requests for them that were made of others."""
        self.check(Generated, self.wholes("gen"))
        self.check(GeneratedChunk, self.events("genstream"))
        self.check(RenderedRequest, [*self.wholes("render"), *json.loads(recorded("renderc"))])

    def test_server(self) -> None:
        """Recorded lists of models, tokens and errors fit."""
        self.check(ModelCards, self.wholes("models"))
        values = self.wholes("tok")
        self.check(Tokenized | Detokenized, values)
        bodies = re.findall(r'(\{"error":\{.*)$', recorded("errors").decode(), re.MULTILINE)
        errors = [json.loads(body) for body in bodies]
        self.assertGreater(len(errors), 40)
        self.check(ErrorBody, errors)
