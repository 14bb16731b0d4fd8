"""What Responses requests want their answers to be made of."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.responses.test_answer import WEATHER, call
from vllmsim.api.toolcalls import Tooling
from vllmsim.errors import InvalidParameter, InvalidRequest, MalformedRequest
from vllmsim.structure import ChoiceOutput, Form, JsonOutput, RegexOutput, ToolUse

OTHER = {**WEATHER, "name": "other"}
RESULT = [
    {"role": "user", "content": "weather?"},
    {"type": "function_call", "call_id": "c", "name": "get_w", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "sunny"},
]


def form(body: dict[str, Any], **more: Any) -> Form:
    """Read a request's form."""
    return call(body, **more).request.form


class ToolTests(SynchronousTestCase):
    """Which tools are called."""

    def use(self, **body: Any) -> ToolUse | None:
        """Read a request with two tools."""
        return form({"tools": [WEATHER, OTHER], **body}).tools

    def called(self, **body: Any) -> tuple[list[str], int, int]:
        """Read which tools may be called, and how often at least and at most."""
        use = self.use(**body)
        assert use is not None
        return [tool.name for tool in use.tools], use.least, use.most

    def test_free(self) -> None:
        """A model that is free to call does so at least once."""
        for body in ({}, {"tool_choice": "auto"}, {"tool_choice": None}, {"tool_choice": "required"}):
            self.assertEqual((["get_w", "other"], 1, 2), self.called(**body))

    def test_none(self) -> None:
        """No tool is called when the request says so, when there are none, and by an encoder."""
        self.assertIsNone(self.use(tool_choice="none"))
        self.assertIsNone(form({"tools": []}).tools)
        self.assertIsNone(form({"tools": None, "tool_choice": "auto"}).tools)
        self.assertIsNone(form({"tools": [WEATHER]}, encoder_only=True).tools)

    def test_answered(self) -> None:
        """When the input has a result of a call anywhere, the model says what it has learnt, unless it must call."""
        for items in (RESULT, [*RESULT, {"role": "user", "content": "and now?"}]):
            self.assertIsNone(self.use(input=items))
            self.assertEqual((["get_w", "other"], 1, 2), self.called(input=items, tool_choice="required"))

    def test_named(self) -> None:
        """A named tool is called once, in either form of the name."""
        for choice in ({"type": "function", "name": "other"}, {"type": "function", "function": {"name": "other"}}):
            self.assertEqual((["other"], 1, 1), self.called(tool_choice=choice))

    def test_allowed(self) -> None:
        """Of allowed tools no other is called; whether one must be is in the choice."""
        for mode, least in (("auto", 0), ("required", 1)):
            choice = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "other"}]}
            self.assertEqual((["other"], least, 1), self.called(tool_choice=choice))

    def test_bounds(self) -> None:
        """Calls are no more than the request wants."""
        self.assertEqual(1, self.called(parallel_tool_calls=False)[2])
        self.assertEqual(1, self.called(max_tool_calls=1)[2])
        self.assertEqual(2, self.called(max_tool_calls=9)[2])
        self.assertIsNone(self.use(max_tool_calls=0))
        self.assertEqual((1, 1), self.called(max_tool_calls=0, tool_choice="required")[1:])

    def test_nested(self) -> None:
        """Tools in the form of chat requests are understood."""
        nested = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        use = form({"tools": [nested]}).tools
        assert use is not None
        self.assertEqual([("f", {"type": "object"})], [(tool.name, tool.parameters) for tool in use.tools])

    def test_hosted(self) -> None:
        """Tools that run elsewhere are accepted and not called."""
        hosted = [{"type": "web_search"}, {"type": "mcp", "server_label": "x"}, {"type": "custom", "name": "y"}]
        self.assertIsNone(form({"tools": hosted}).tools)
        use = form({"tools": [*hosted, WEATHER]}).tools
        assert use is not None
        self.assertEqual(["get_w"], [tool.name for tool in use.tools])

    def test_wrong_tools(self) -> None:
        """Tools that are not what they should be are named in the error."""
        error = self.assertRaises(InvalidRequest, form, {"tools": [{"type": "x"}]})
        self.assertEqual(('unsupported tool type "x"', "tools"), (error.message, error.param))
        for tools, param in (
            ({}, "body.tools"),
            (["x"], "body.tools.0"),
            ([{}], "body.tools.0.type"),
            ([{"type": "function"}], "body.tools.0.name"),
            ([{"type": "function", "function": {}}], "body.tools.0.function.name"),
            ([{"type": "function", "name": "f", "parameters": 5}], "body.tools.0.parameters"),
        ):
            malformed = self.assertRaises(MalformedRequest, form, {"tools": tools})
            self.assertEqual(param, malformed.param, tools)
        bad = {**WEATHER, "parameters": {"type": 5}}
        error = self.assertRaises(InvalidRequest, form, {"tools": [bad]})
        self.assertIn("Tool validation failed", error.message)
        self.assertIsNotNone(form({"tools": [bad]}, tooling=Tooling(validates=False)).tools)

    def test_wrong_choices(self) -> None:
        """A choice that no tool fits is refused, and so is one of no known form."""
        named = {"type": "function", "name": "nobody"}
        for body in (
            {"tool_choice": "required"},
            {"tool_choice": named},
            {"tool_choice": "required", "tools": [{"type": "web_search"}]},
            {"tool_choice": named, "tools": [WEATHER]},
            {"tool_choice": {"type": "web_search_preview"}, "tools": [{"type": "web_search_preview"}]},
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [named]}},
        ):
            error = self.assertRaises(InvalidParameter, form, body)
            self.assertEqual("tool_choice", error.param)
        self.assertRaises(MalformedRequest, form, {"tools": [WEATHER], "tool_choice": "foo"})

    def test_no_parser(self) -> None:
        """A server that cannot call tools says so."""
        self.assertRaises(InvalidRequest, form, {"tools": [WEATHER]}, tooling=Tooling(parser=""))


class OutputTests(SynchronousTestCase):
    """The structure of text."""

    def test_formats(self) -> None:
        """A schema, any object, or text without structure."""
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        output = form({"text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}}).output
        assert isinstance(output, JsonOutput)
        self.assertEqual(schema, output.schema)
        self.assertIsInstance(form({"text": {"format": {"type": "json_object"}}}).output, JsonOutput)
        for text in ({"format": {"type": "text"}}, {"verbosity": "high"}, {}, None):
            self.assertIsNone(form({"text": text}).output)

    def test_constraints(self) -> None:
        """Constraints of vLLM's own, of which a request has one and no format beside it."""
        self.assertEqual(ChoiceOutput(("a", "b")), form({"structured_outputs": {"choice": ["a", "b"]}}).output)
        self.assertEqual(RegexOutput("a+"), form({"structured_outputs": {"regex": "a+"}}).output)
        both = {"structured_outputs": {"regex": "a+"}, "text": {"format": {"type": "json_object"}}}
        self.assertRaises(InvalidRequest, form, both)
        self.assertRaises(InvalidRequest, form, {"structured_outputs": {"regex": "a", "choice": ["a"]}})

    def test_wrong_formats(self) -> None:
        """A format without its schema, or with one that is none, is refused."""
        error = self.assertRaises(InvalidParameter, form, {"text": {"format": {"type": "json_schema", "name": "n"}}})
        self.assertEqual("text", error.param)
        wrong = {"type": "json_schema", "name": "n", "schema": {"type": 5}}
        self.assertRaises(InvalidRequest, form, {"text": {"format": wrong}})
        malformed = self.assertRaises(MalformedRequest, form, {"text": {"format": {"type": "x"}}})
        self.assertEqual("body.text.format.type", malformed.param)


class ReasoningTests(SynchronousTestCase):
    """Whether the model thinks."""

    def test_effort(self) -> None:
        """A server that reasons does so unless the request wants none of it."""
        for body, thinks in (
            ({}, True),
            ({"reasoning": {"effort": "high"}}, True),
            ({"reasoning": {"effort": None, "summary": "auto"}}, True),
            ({"reasoning": {"effort": "none"}}, False),
            ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ):
            self.assertEqual(thinks, form(body, reasons=True).thinks, body)
            self.assertFalse(form(body).thinks)
        self.assertRaises(MalformedRequest, form, {"reasoning": {"effort": "huge"}})
