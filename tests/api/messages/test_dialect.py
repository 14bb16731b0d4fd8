"""The Messages dialect: what requests become."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, recorded, settings
from vllmsim.api.body import Head
from vllmsim.api.dialect import Call
from vllmsim.api.messages.dialect import CountDialect, MessagesDialect
from vllmsim.errors import InferenceError, InvalidParameter, InvalidRequest, MalformedRequest, UnknownModel
from vllmsim.inference import Conversation, Message
from vllmsim.structure import JsonOutput, ToolUse

HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_w", "description": "Weather", "input_schema": SCHEMA}
OTHER = {"name": "get_t", "input_schema": {}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


class MessagesTestCase(SynchronousTestCase):
    """Tests that read requests."""

    def parse(self, head: Head = HEAD, server: dict[str, Any] | None = None, **fields: Any) -> Call:
        """Read a request; a field that is None is left out."""
        body = {"model": "m1", "max_tokens": 2000, "messages": HI, **fields}
        given = {name: value for name, value in body.items() if value is not None}
        return MessagesDialect(settings(**(server or {}))).parse(json.dumps(given).encode(), head)

    def refuse(self, kind: type[InferenceError], said: str, param: str | None, **fields: Any) -> None:
        """Check that a request is refused."""
        error = self.assertRaises(kind, self.parse, **fields)
        self.assertIn(said, error.message)
        self.assertEqual(param, error.param)


class SamplingTests(MessagesTestCase):
    """Fields that decide how an answer is chosen and where it ends."""

    def test_sampling(self) -> None:
        """Fields become sampling parameters under vLLM's names; what is not given has vLLM's defaults."""
        request = self.parse(
            max_tokens=7, stop_sequences=["a", "b"], temperature=0.5, top_p=0.25, top_k=4, ignore_eos=True
        ).request
        s = request.sampling
        self.assertEqual(
            (7, ("a", "b"), 0.5, 0.25, 4, True),
            (s.max_tokens, s.stop, s.temperature, s.top_p, s.top_k, s.ignore_eos),
        )
        s = self.parse().request.sampling
        self.assertEqual((1, 2000, (), 1.0, 1.0, 0, False, None), (s.n, s.max_tokens, s.stop, s.temperature, s.top_p,
                                                                s.top_k, s.ignore_eos, s.logprobs))  # fmt: skip

    def test_unknown_fields(self) -> None:
        """Fields that mean nothing here are accepted, those of other dialects among them."""
        request = self.parse(
            metadata={"user_id": "u"}, service_tier="auto", n=3, stream_options={"include_usage": True}, container="c",
            mcp_servers=[], context_management={"edits": []}, mm_payload="none", vllm_xargs={"a": 1},
        ).request  # fmt: skip
        self.assertEqual(1, request.sampling.n)

    def test_names(self) -> None:
        """The id is the header's or a new one; the model answers under its first name."""
        request = self.parse(model="m2").request
        self.assertEqual(
            ("0123456789abcdef", False, "m1"), (request.request_id, request.named_by_client, request.model)
        )
        request = self.parse(Head("application/json", "mine"), request_id="body").request
        self.assertEqual(("mine", True), (request.request_id, request.named_by_client))
        self.assertRaises(UnknownModel, self.parse, model="zz")

    def test_transfer(self) -> None:
        """A request says when its prompt was computed elsewhere."""
        self.assertTrue(self.parse(kv_transfer_params={"do_remote_prefill": True}).request.remote_prefill)
        self.assertFalse(self.parse().request.remote_prefill)

    def test_image(self) -> None:
        """An answer with an image behind it takes the image's time."""
        self.assertTrue(self.parse(Head("application/json", send_image=True)).request.form.image)
        self.assertFalse(self.parse().request.form.image)


class ToolTests(MessagesTestCase):
    """Which tools may be called."""

    def use(self, **fields: Any) -> ToolUse | None:
        """Read a request's use of tools."""
        return self.parse(**fields).request.form.tools

    def bounds(self, **fields: Any) -> tuple[list[str], int, int, bool]:
        """Read the tools that may be called, and how many calls there are."""
        use = self.use(**fields)
        assert use is not None
        return [tool.name for tool in use.tools], use.least, use.most, use.named

    def test_choices(self) -> None:
        """The model is free unless the choice says that it must call, or what; it may be told to call once."""
        tools, names = [TOOL, OTHER], ["get_w", "get_t"]
        for choice in (None, {"type": "auto"}):
            self.assertEqual((names, 0, 2, False), self.bounds(tools=tools, tool_choice=choice))
        self.assertEqual((names, 1, 2, False), self.bounds(tools=tools, tool_choice={"type": "any"}))
        once = {"type": "any", "disable_parallel_tool_use": True}
        self.assertEqual((names, 1, 1, False), self.bounds(tools=tools, tool_choice=once))
        choice = {"type": "tool", "name": "get_t"}
        self.assertEqual((["get_t"], 1, 1, True), self.bounds(tools=tools, tool_choice=choice))
        self.assertIsNone(self.use(tools=tools, tool_choice={"type": "none"}))
        self.assertIsNone(self.use(tools=[]))
        self.assertIsNone(self.use(tool_choice={"type": "auto"}))

    def test_schemas(self) -> None:
        """A schema without a type is an object's."""
        use = self.use(tools=[TOOL, OTHER, {"type": "custom", "name": "c", "input_schema": {"type": "object"}}])
        assert use is not None
        self.assertEqual([SCHEMA, {"type": "object"}, {"type": "object"}], [tool.parameters for tool in use.tools])

    def test_results(self) -> None:
        """A model that gets the result of a call answers in text, unless it must call."""
        result = {"type": "tool_result", "tool_use_id": "c", "content": "sunny"}
        for blocks in ([result], [result, {"type": "text", "text": "And now?"}]):
            messages = [*HI, {"role": "user", "content": blocks}]
            self.assertIsNone(self.use(tools=[TOOL], messages=messages))
            self.assertIsNotNone(self.use(tools=[TOOL], messages=messages, tool_choice={"type": "any"}))

    def test_server_tools(self) -> None:
        """Tools without a schema that are Anthropic's are accepted, and never called."""
        self.assertEqual((["get_w"], 1, 1, False), self.bounds(tools=[SEARCH, TOOL], tool_choice={"type": "any"}))
        for choice in ({"type": "any"}, {"type": "tool", "name": "web_search"}, None):
            self.assertIsNone(self.use(tools=[SEARCH], tool_choice=choice))

    def test_refused(self) -> None:
        """Choices that cannot be followed are refused."""
        for choice in ({"type": "any"}, {"type": "tool", "name": "f"}):
            self.refuse(InvalidParameter, "`tools` must be set", "tool_choice", tool_choice=choice)
        choice = {"type": "tool", "name": "f"}
        self.refuse(InvalidParameter, "does not match any", "tool_choice", tools=[TOOL], tool_choice=choice)
        self.refuse(
            InvalidRequest, "Tool validation failed: f:", None, tools=[{"name": "f", "input_schema": {"type": 7}}]
        )


class FormTests(MessagesTestCase):
    """Reasoning and structure."""

    def test_thinking(self) -> None:
        """Reasoning comes as the server has it, unless it is disabled; a budget bounds it."""
        reasons = {"reasons": True}
        empty: dict[str, Any] = {}
        budget = {"type": "enabled", "budget_tokens": 1024}
        for fields, expected in (
            (empty, (True, None)),
            ({"thinking": {"type": "adaptive"}}, (True, None)),
            ({"thinking": budget}, (True, 1024)),
            ({"thinking": {"type": "disabled"}}, (False, None)),
            ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, (False, None)),
            ({"output_config": {"effort": "max"}}, (True, None)),
            ({"chat_template_kwargs": {"enable_thinking": False}}, (False, None)),
        ):
            form = self.parse(server=reasons, **fields).request.form
            self.assertEqual(expected, (form.thinks, form.thinking_budget), fields)
        self.assertFalse(self.parse(thinking=budget).request.form.thinks)

    def test_structure(self) -> None:
        """A format's schema is the answer's; a format without one says nothing."""
        config = {"format": {"type": "json_schema", "schema": SCHEMA}}
        output = self.parse(output_config=config).request.form.output
        assert isinstance(output, JsonOutput)
        self.assertEqual(SCHEMA, output.schema)
        self.assertIsNone(self.parse(output_config={"format": {"type": "json_schema"}}).request.form.output)

    def test_media(self) -> None:
        """A server of text alone refuses images, by the model's name."""
        messages = [{"role": "user", "content": [IMAGE]}]
        self.parse(messages=messages)
        server = {"multimodal": False}
        self.refuse(InvalidRequest, "m1 is not a multimodal model", None, messages=messages, server=server)


class FormErrorTests(MessagesTestCase):
    """Bodies that are not what the route takes."""

    def test_fields(self) -> None:
        """Each is refused with the field at fault, in vLLM's words."""
        text = [{"type": "text", "text": 7}]
        for said, param, fields in (
            ("Field required", "body.model", {"model": None}),
            ("Value error, Model is required", "body.model", {"model": ""}),
            ("Field required", "body.messages", {"messages": None}),
            ("valid list", "body.messages", {"messages": "x"}),
            ("'user', 'assistant' or 'system'", "body.messages.0.role",
             {"messages": [{"role": "tool", "content": ""}]}),
            ("Field required", "body.messages.0.content", {"messages": [{"role": "user"}]}),
            ("valid string", "body.messages.0.content", {"messages": [{"role": "user", "content": text}]}),
            ("'body.messages.0.content.0.text'", "body.messages.0.content",
             {"messages": [{"role": "user", "content": text}]}),
            ("'body.messages.0.content.0.type'", "body.messages.0.content",
             {"messages": [{"role": "user", "content": [{}]}]}),
            ("max_tokens must be positive", "body.max_tokens", {"max_tokens": -1}),
            ("valid integer", "body.max_tokens", {"max_tokens": "x"}),
            ("at most 4 items after validation, not 5", "body.stop_sequences", {"stop_sequences": list("abcde")}),
            ("greater than or equal to 1024", "body.thinking.budget_tokens",
             {"thinking": {"type": "enabled", "budget_tokens": 5}}),
            ("thinking.budget_tokens must be less than max_tokens", "body",
             {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
            ("'enabled', 'disabled', 'adaptive'", "body.thinking", {"thinking": {"type": "x"}}),
            ("'auto', 'any', 'tool' or 'none'", "body.tool_choice.type", {"tool_choice": {"type": "x"}}),
            ("tool_choice.name is required when type is 'tool'", "body.tool_choice", {"tool_choice": {"type": "tool"}}),
            ("Field required", "body.tools.0.input_schema", {"tools": [{"name": "f"}]}),
            ("Field required", "body.tools.0.input_schema", {"tools": [{"name": "f", "type": "custom"}]}),
            ("Field required", "body.tools.0.name", {"tools": [{"input_schema": {}}]}),
            ("valid dictionary", "body.tools.0", {"tools": [7]}),
            ("'low', 'medium', 'high', 'xhigh' or 'max'", "body.output_config.effort",
             {"output_config": {"effort": "none"}}),
            ("at least 1 character", "body.cache_salt", {"cache_salt": ""}),
            ("valid string", "body.system", {"system": 7}),
        ):  # fmt: skip
            self.refuse(MalformedRequest, said, param, **fields)

    def test_the_order_of_checks(self) -> None:
        """The form comes before the model, and the model before what the form cannot tell."""
        self.assertRaises(MalformedRequest, self.parse, model="zz", temperature="hot")
        image = [{"role": "user", "content": [{"type": "image"}]}]
        self.assertRaises(UnknownModel, self.parse, model="zz", messages=image)
        self.refuse(InvalidRequest, "missing required 'source'", None, messages=image, tool_choice={"type": "any"})
        self.refuse(InvalidParameter, "'cache_salt' must be", "cache_salt", cache_salt="a@b")


class CountTests(SynchronousTestCase):
    """Requests to count tokens."""

    def test_recording(self) -> None:
        """The answer has vLLM's bytes."""
        self.assertEqual(recorded("ctok"), CountDialect(settings()).counted(16))

    def test_parse(self) -> None:
        """The body is a Messages request's without an answer's limit; its prompt is the same."""
        body = {"model": "m1", "messages": HI, "system": "s", "tools": [TOOL, SEARCH], "thinking": {"type": "adaptive"}}
        read = CountDialect(settings()).parse(json.dumps(body).encode(), HEAD)
        self.assertEqual(Conversation((Message("system", "s"), Message("user", "hi"))), read)
        for more, kind in (
            ({"model": "zz"}, UnknownModel),
            ({"messages": [], "system": None}, InvalidRequest),
            ({"messages": None}, MalformedRequest),
            ({"tools": [{"name": "f"}]}, MalformedRequest),
            ({"messages": [{"role": "user", "content": [IMAGE]}]}, InvalidRequest),
        ):
            data = json.dumps(body | more).encode()
            self.assertRaises(kind, CountDialect(settings(multimodal=False)).parse, data, HEAD)
