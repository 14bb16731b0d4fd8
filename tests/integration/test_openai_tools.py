"""Tools and structured outputs with the official OpenAI SDK."""

import json
from typing import Any, Literal

import openai
from pydantic import BaseModel, Field

from tests.integration.daemon import DaemonTestCase

HI: Any = [{"role": "user", "content": "How is the weather?"}]


class Forecast(BaseModel):
    """What an answer must be."""

    city: str = Field(min_length=2, pattern="^[A-Z][a-z]+$")
    degrees: float = Field(ge=-40, le=50)
    sky: Literal["clear", "cloudy"]
    days: list[int] = Field(min_length=1, max_length=3)


class ToolTests(DaemonTestCase):
    """What the SDK makes of calls and structures."""

    words = ("--model", "m", "--reasoning-parser", "qwen3", "--tool-call-extra-call-probability", "100")

    def setUp(self) -> None:
        """Have a client that does not retry."""
        self.client = openai.OpenAI(base_url=self.daemon.url("/v1"), api_key="x", max_retries=0)
        self.addCleanup(self.client.close)

    def test_tools(self) -> None:
        """The arguments of a call are an instance of the class that the tool was made of."""
        tool: Any = openai.pydantic_function_tool(Forecast)
        answer = self.client.chat.completions.create(model="m", messages=HI, tools=[tool], tool_choice="required")
        assert answer.choices[0].message.tool_calls
        [call] = answer.choices[0].message.tool_calls
        assert call.type == "function"
        Forecast.model_validate_json(call.function.arguments)
        self.assertEqual(("Forecast", "tool_calls"), (call.function.name, answer.choices[0].finish_reason))

    def test_stream_helper(self) -> None:
        """The typed stream helper gathers calls and their parsed arguments."""
        tool: Any = openai.pydantic_function_tool(Forecast)
        kinds = set()
        with self.client.chat.completions.stream(
            model="m", messages=HI, tools=[tool], tool_choice="required"
        ) as stream:
            for event in stream:
                kinds.add(event.type)
            final = stream.get_final_completion()
        calls = final.choices[0].message.tool_calls
        assert calls
        self.assertIsInstance(calls[0].function.parsed_arguments, Forecast)
        self.assertIn("tool_calls.function.arguments.done", kinds)

    def test_parse(self) -> None:
        """A parsed answer is an instance of the class, streamed too."""
        answer = self.client.chat.completions.parse(model="m", messages=HI, response_format=Forecast)
        self.assertIsInstance(answer.choices[0].message.parsed, Forecast)
        with self.client.chat.completions.stream(model="m", messages=HI, response_format=Forecast) as stream:
            final = stream.get_final_completion()
        self.assertIsInstance(final.choices[0].message.parsed, Forecast)

    def test_reasoning(self) -> None:
        """Reasoning is a member that the SDK passes on."""
        answer = self.client.chat.completions.create(model="m", messages=HI)
        self.assertTrue(answer.choices[0].message.model_dump()["reasoning"])
        usage = answer.usage
        assert usage is not None
        assert usage.completion_tokens_details is not None
        self.assertTrue(usage.completion_tokens_details.reasoning_tokens)

    def test_structured_outputs(self) -> None:
        """VLLM's own constraints go through the SDK's extra body."""
        extra = {"structured_outputs": {"choice": ["left", "right"]}}
        answer = self.client.chat.completions.create(model="m", messages=HI, extra_body=extra)
        self.assertIn(answer.choices[0].message.content, ("left", "right"))

    def test_bad_tool(self) -> None:
        """A tool whose parameters are no schema is the SDK's BadRequestError."""
        tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "nothing"}}}
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model="m", messages=HI, tools=[tool])
        self.assertIn("Tool validation failed", caught.exception.message)
        self.assertEqual(400, json.loads(caught.exception.response.text)["error"]["code"])
