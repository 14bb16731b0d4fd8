"""The official Anthropic SDK against the daemon."""

import asyncio
import json
from typing import Any

import anthropic
from anthropic import beta_tool
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock
from pydantic import BaseModel

from tests.integration.daemon import DaemonTestCase

HI: Any = [{"role": "user", "content": "one two three"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class AnthropicTestCase(DaemonTestCase):
    """Tests with a client that does not retry."""

    def setUp(self) -> None:
        """Have a client."""
        self.client = anthropic.Anthropic(base_url=self.daemon.url(), api_key="x", max_retries=0)
        self.addCleanup(self.client.close)

    def ask(self, **fields: Any) -> Message:
        """Ask for a whole answer."""
        answer = self.client.messages.create(**({"model": "m1", "max_tokens": 50, "messages": HI} | fields))
        assert isinstance(answer, Message)
        return answer

    def text(self, answer: Any) -> str:
        """Read the text of an answer."""
        return "".join(block.text for block in answer.content if isinstance(block, TextBlock))


class AnthropicTests(AnthropicTestCase):
    """What the SDK makes of the answers."""

    words = ("--model", "m", "--served-model-name", "m1", "m2", "--mode", "echo", "--inter-token-latency", "1ms",
             "--enable-prompt-tokens-details")  # fmt: skip

    def test_whole(self) -> None:
        """A whole answer is typed."""
        answer = self.ask(model="m2", system=[{"type": "text", "text": "Be brief."}])
        self.assertEqual(("one two three", "end_turn", "m1"), (self.text(answer), answer.stop_reason, answer.model))
        self.assertEqual(("message", "assistant"), (answer.type, answer.role))
        self.assertEqual((4, 0), (answer.usage.output_tokens, answer.usage.cache_read_input_tokens))

    def test_limit(self) -> None:
        """The limit and stop sequences end an answer, and it says so."""
        self.assertEqual("max_tokens", self.ask(max_tokens=2).stop_reason)
        answer = self.ask(stop_sequences=["three", "x"])
        self.assertEqual(
            ("one two ", "stop_sequence", "three"), (self.text(answer), answer.stop_reason, answer.stop_sequence)
        )

    def test_events(self) -> None:
        """A stream's events are typed, in Anthropic's order."""
        events = list(self.client.messages.create(model="m1", max_tokens=50, messages=HI, stream=True))
        self.assertEqual(
            ["message_start", "content_block_start", *["content_block_delta"] * 3, "content_block_stop",
             "message_delta", "message_stop"],
            [event.type for event in events],
        )  # fmt: skip
        delta: Any = events[-2]
        self.assertEqual(("end_turn", 4), (delta.delta.stop_reason, delta.usage.output_tokens))

    def test_stream(self) -> None:
        """The SDK's gathering of a stream is the whole answer."""
        with self.client.messages.stream(model="m1", max_tokens=50, messages=HI, stop_sequences=["hree"]) as stream:
            texts = list(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(("one two t", "one two t"), ("".join(texts), self.text(final)))
        self.assertEqual(("stop_sequence", "hree"), (final.stop_reason, final.stop_sequence))
        self.assertEqual(self.ask(stop_sequences=["hree"]).usage, final.usage)

    def test_images(self) -> None:
        """Images are accepted, as data and by address, in results of calls too."""
        data: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
        address: Any = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:9/x.png"}}
        answer = self.ask(messages=[{"role": "user", "content": [data, address, {"type": "text", "text": "see"}]}])
        self.assertEqual("image: data:image/png;base64\nimage: http://127.0.0.1:9/x.png\nsee", self.text(answer))

    def test_count(self) -> None:
        """Tokens are counted as an answer's usage counts them."""
        counted = self.client.messages.count_tokens(model="m1", messages=HI, system="Be brief.", tools=[WEATHER])
        self.assertEqual(self.ask(system="Be brief.").usage.input_tokens, counted.input_tokens)

    def test_errors(self) -> None:
        """Errors are the SDK's, with what the server says."""
        long, huge = ([{"role": "user", "content": "a " * count}] for count in (9000, 3_000_000))
        for error, kind, said, fields in (
            (anthropic.NotFoundError, "not_found_error", "`zzz` does not exist", {"model": "zzz"}),
            (anthropic.BadRequestError, "Bad Request", "max_tokens must be positive", {"max_tokens": 0}),
            (anthropic.BadRequestError, "invalid_request_error", "maximum context length", {"messages": long}),
            (anthropic.BadRequestError, "invalid_request_error", "temperature must be in [0, 2]",
             {"extra_body": {"temperature": 3.0}}),
            (anthropic.APIStatusError, "request_too_large", "is larger than", {"messages": huge}),
        ):  # fmt: skip
            with self.assertRaises(error) as caught:
                self.ask(**fields)
            self.assertIn(said, caught.exception.message)
            body: Any = caught.exception.body
            self.assertEqual(kind, body["error"]["type"])
        with (
            self.assertRaises(anthropic.NotFoundError),
            self.client.messages.stream(model="zzz", max_tokens=5, messages=HI),
        ):
            pass

    def test_asynchronous(self) -> None:
        """The asynchronous client streams and asks as well, many at once."""

        async def talk() -> list[Message]:
            async with anthropic.AsyncAnthropic(base_url=self.daemon.url(), api_key="x", max_retries=0) as client:

                async def once(number: int) -> Message:
                    messages: Any = [{"role": "user", "content": f"number {number}"}]
                    async with client.messages.stream(model="m1", max_tokens=50, messages=messages) as stream:
                        async for _ in stream:
                            pass
                        return await stream.get_final_message()

                whole = await client.messages.create(model="m1", max_tokens=50, messages=HI)
                return [whole, *await asyncio.gather(*map(once, range(8)))]

        answers = asyncio.run(talk())
        self.assertEqual(["one two three", *(f"number {i}" for i in range(8))], list(map(self.text, answers)))

    def test_hang_up(self) -> None:
        """A stream that is closed early leaves nothing running."""
        stream = self.client.messages.create(
            model="m1", messages=HI, stream=True, max_tokens=900, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        stream.close()
        metrics = ""
        for _ in range(100):
            metrics = self.daemon.get("/metrics").decode()
            if 'vllm:num_requests_running{engine="0",model_name="m1"} 0.0' in metrics:
                return
        self.fail(json.dumps([line for line in metrics.splitlines() if "running" in line]))


class Place(BaseModel):
    """What the model is to say."""

    city: str
    population: int


class ToolTests(AnthropicTestCase):
    """Tools and structured outputs."""

    words = ("--model", "m1", "--tool-call-extra-call-probability", "100")

    def test_loop(self) -> None:
        """A conversation of calls and results comes to its end with a text."""
        messages: list[Any] = [*HI]
        kinds: list[Any] = []
        while len(kinds) < 5:
            answer = self.ask(messages=messages, tools=[WEATHER])
            kinds.append(answer.stop_reason)
            if answer.stop_reason != "tool_use":
                break
            [call] = answer.content
            assert isinstance(call, ToolUseBlock)
            self.assertEqual(("get_weather", ["city"]), (call.name, list(call.input)))
            result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
            messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        self.assertEqual("tool_use", kinds[0])
        self.assertIn(kinds[1:], (["end_turn"], ["max_tokens"]))

    def test_runner(self) -> None:
        """The SDK's own loop of tools comes to its end, whole and streamed."""
        cities: list[str] = []

        @beta_tool
        def get_weather(city: str) -> str:
            """Tell the weather.

            :param city: where.
            """
            cities.append(city)
            return "sunny"

        runner = self.client.beta.messages.tool_runner(
            model="m1", max_tokens=100, messages=HI, tools=[get_weather], max_iterations=5
        )
        answers = list(runner)
        self.assertEqual(("tool_use", 2, 1), (answers[0].stop_reason, len(answers), len(cities)))
        streams = self.client.beta.messages.tool_runner(
            model="m1", max_tokens=100, messages=HI, tools=[get_weather], max_iterations=5, stream=True
        )
        finals = [stream.get_final_message() for stream in streams]
        self.assertEqual(("tool_use", 2, 2), (finals[0].stop_reason, len(finals), len(cities)))

    def test_streamed_calls(self) -> None:
        """The SDK puts the input of a call together from its pieces."""
        with self.client.messages.stream(
            model="m1", max_tokens=50, messages=HI, tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"}
        ) as stream:
            pieces = [event.partial_json for event in stream if event.type == "input_json"]
            [call] = stream.get_final_message().content
        assert isinstance(call, ToolUseBlock)
        self.assertEqual(json.loads("".join(pieces)), call.input)
        self.assertRegex(call.id, "^chatcmpl-tool-")

    def test_structure(self) -> None:
        """An answer with a format is what the SDK parses it to."""
        answer = self.client.messages.parse(model="m1", max_tokens=200, messages=HI, output_format=Place)
        assert answer.parsed_output is not None
        self.assertEqual(
            [str, int], [type(value) for value in (answer.parsed_output.city, answer.parsed_output.population)]
        )

    def test_server_tools(self) -> None:
        """Anthropic's own tools are accepted, and never called."""
        search: Any = {"type": "web_search_20250305", "name": "web_search"}
        self.assertEqual(["text"], [block.type for block in self.ask(tools=[search]).content])


class ReasoningTests(AnthropicTestCase):
    """Reasoning, and a server that is full."""

    words = ("--model", "m1", "--mode", "echo", "--reasoning-parser", "qwen3", "--max-num-seqs", "1",
             "--max-model-len", "4096", "--max-waiting-queue-length", "0", "--inter-token-latency", "1ms")  # fmt: skip

    def test_thinking(self) -> None:
        """Reasoning comes first and is signed; it can go back as it is, and be switched off."""
        budget: Any = {"type": "enabled", "budget_tokens": 1024}
        answer = self.ask(max_tokens=2000, thinking=budget)
        thought = answer.content[0]
        assert isinstance(thought, ThinkingBlock)
        self.assertRegex(thought.signature, "^[0-9a-f]{32}$")
        self.assertTrue(thought.thinking)
        self.assertEqual("one two three", self.text(answer))
        messages: Any = [*HI, {"role": "assistant", "content": answer.content}, {"role": "user", "content": "and?"}]
        self.assertEqual("and?", self.text(self.ask(messages=messages, thinking={"type": "disabled"})))
        self.assertEqual(["text"], [block.type for block in self.ask(thinking={"type": "disabled"}).content])

    def test_streamed_thinking(self) -> None:
        """The SDK tells thoughts, signatures and text apart."""
        with self.client.messages.stream(model="m1", max_tokens=60, messages=HI) as stream:
            kinds = [event.type for event in stream if event.type in ("thinking", "signature", "text")]
            final = stream.get_final_message()
        self.assertEqual(["thinking", "signature", "text"], list(dict.fromkeys(kinds)))
        assert isinstance(final.content[0], ThinkingBlock)
        self.assertEqual(32, len(final.content[0].signature))

    def test_full(self) -> None:
        """A full server is the SDK's RateLimitError."""
        with self.client.messages.create(
            model="m1", max_tokens=500, messages=HI, stream=True, extra_body={"ignore_eos": True}
        ) as stream:
            next(iter(stream))
            with self.assertRaises(anthropic.RateLimitError) as caught:
                self.ask()
        body: Any = caught.exception.body
        self.assertEqual("rate_limit_error", body["error"]["type"])
