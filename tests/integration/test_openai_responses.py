"""Responses with the official OpenAI SDK, against the daemon."""

import json
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import openai
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel

from tests.integration.daemon import PATIENCE, DaemonTestCase

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
T = TypeVar("T")


class Verdict(BaseModel):
    """What an answer is parsed to."""

    guilty: bool
    years: int
    court: Literal["high", "low"]


class ResponsesTests(DaemonTestCase):
    """What the SDK makes of responses."""

    words = (
        "--model", "m", "--served-model-name", "m1", "--mode", "echo", "--inter-token-latency", "1ms",
        "--enable-responses-store", "--max-model-len", "8192",
    )  # fmt: skip

    def setUp(self) -> None:
        """Have a client that does not retry."""
        self.client = openai.OpenAI(base_url=self.daemon.url("/v1"), api_key="x", max_retries=0)
        self.addCleanup(self.client.close)
        self.responses = self.client.responses

    def until(self, look: Callable[[], T], good: Callable[[T], bool]) -> T:
        """Look again and again until it is good."""
        begin = time.monotonic()
        while not good(seen := look()):
            if time.monotonic() - begin > PATIENCE:
                self.fail(f"still {seen}")
            time.sleep(0.01)
        return seen

    def long(self, **more: Any) -> Response:
        """Begin a response in the background that takes seconds."""
        response: Response = self.responses.create(
            model="m1", input="x", background=True, extra_body={"ignore_eos": True}, max_output_tokens=5000, **more
        )
        return response

    def test_create(self) -> None:
        """A whole response is typed, and its text is at hand."""
        response = self.responses.create(model="m1", input="one two three", instructions="Be brief.")
        self.assertEqual(("one two three", "completed", "m1"), (response.output_text, response.status, response.model))
        self.assertEqual("Be brief.", response.instructions)
        assert response.usage is not None
        self.assertEqual(4, response.usage.output_tokens)
        self.assertEqual(response.usage.total_tokens, response.usage.input_tokens + 4)
        self.assertEqual(0, response.usage.output_tokens_details.reasoning_tokens)

    def test_items(self) -> None:
        """An image and earlier output items are accepted as input."""
        first = self.responses.create(model="m1", input="hello")
        image: Any = {"type": "input_image", "image_url": "https://example.com/img.png", "detail": "auto"}
        items: Any = [
            {"role": "user", "content": "hello"},
            *[item.model_dump() for item in first.output],
            {"role": "user", "content": [{"type": "input_text", "text": "Describe this"}, image]},
        ]
        answer = self.responses.create(model="m1", input=items, store=False)
        self.assertEqual("Describe this\nimage: https://example.com/img.png", answer.output_text)

    def test_stream(self) -> None:
        """The raw events of a stream are typed, and end with the response."""
        events = list(self.responses.create(model="m1", input="one two three", stream=True))
        self.assertEqual(list(range(len(events))), [event.sequence_number for event in events])
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        self.assertEqual(["one ", "two ", "three"], deltas)
        last = events[-1]
        assert last.type == "response.completed"
        self.assertEqual("one two three", last.response.output_text)

    def test_stream_helper(self) -> None:
        """The SDK's own helper follows a stream to its final response."""
        with self.responses.stream(model="m1", input="one two three") as stream:
            snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        self.assertEqual("one two three", snapshots[-1])
        self.assertEqual(("one two three", "completed"), (final.output_text, final.status))

    def test_incomplete(self) -> None:
        """A response that its limit cut says so, whole and streamed."""
        response = self.responses.create(model="m1", input="one two three", max_output_tokens=2)
        assert response.incomplete_details is not None
        self.assertEqual(("incomplete", "max_output_tokens"), (response.status, response.incomplete_details.reason))
        [*_, last] = self.responses.create(model="m1", input="one two three", max_output_tokens=2, stream=True)
        assert last.type == "response.incomplete"
        self.assertEqual("one two ", last.response.output_text)

    def test_tools(self) -> None:
        """A call has arguments that its schema allows; with its result the loop comes to its end."""
        first = self.responses.create(model="m1", input="Weather?", tools=[WEATHER], parallel_tool_calls=False)
        [call] = first.output
        assert isinstance(call, ResponseFunctionToolCall)
        arguments = json.loads(call.arguments)
        self.assertEqual(("get_weather", {"city", "unit"}), (call.name, set(arguments)))
        self.assertIn(arguments["unit"], ("C", "F"))
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
        second = self.responses.create(model="m1", input=[result], previous_response_id=first.id, tools=[WEATHER])
        self.assertEqual("Sunny.", second.output_text)

    def test_streamed_tools(self) -> None:
        """The helper gathers the arguments of calls."""
        with self.responses.stream(model="m1", input="Weather?", tools=[WEATHER]) as stream:
            done = [event for event in stream if event.type == "response.function_call_arguments.done"]
            calls = stream.get_final_response().output
        self.assertEqual([event.arguments for event in done], [getattr(call, "arguments", None) for call in calls])

    def test_parse(self) -> None:
        """An answer of a given form is parsed to it."""
        response = self.responses.parse(model="m1", input="Judge!", text_format=Verdict)
        self.assertIsInstance(response.output_parsed, Verdict)
        with self.responses.stream(model="m1", input="Judge!", text_format=Verdict) as stream:
            final = stream.get_final_response()
        self.assertIsInstance(final.output_parsed, Verdict)

    def test_logprobs(self) -> None:
        """Log probabilities are typed."""
        response = self.responses.create(
            model="m1", input="a b", include=["message.output_text.logprobs"], top_logprobs=2
        )
        part: Any = response.output[0]
        logprobs = part.content[0].logprobs
        self.assertEqual(["a ", "b", "<|im_end|>"], [entry.token for entry in logprobs])
        self.assertEqual(2, len(logprobs[0].top_logprobs))

    def test_going_on(self) -> None:
        """A stored response can be looked at, and gone on from."""
        first = self.responses.create(model="m1", input="one")
        self.assertEqual(first, self.responses.retrieve(first.id))
        second = self.responses.create(model="m1", input="two", previous_response_id=first.id)
        assert first.usage is not None
        assert second.usage is not None
        self.assertGreater(second.usage.input_tokens, 2 * first.usage.input_tokens)
        with self.assertRaises(openai.NotFoundError) as caught:
            self.responses.create(model="m1", input="two", previous_response_id="resp_none")
        self.assertEqual("response_id", caught.exception.param)

    def test_background(self) -> None:
        """A response in the background is polled until it is there."""
        response = self.responses.create(model="m1", input="one two three", background=True)
        self.assertEqual("queued", response.status)
        done = self.until(
            lambda: self.responses.retrieve(response.id), lambda seen: seen.status not in ("queued", "in_progress")
        )
        self.assertEqual(("completed", "one two three"), (done.status, done.output_text))

    def test_cancel(self) -> None:
        """A response in the background is cancelled, and its slot is free."""
        response = self.long()
        self.until(lambda: self.responses.retrieve(response.id).status, lambda status: status == "in_progress")
        self.assertEqual("cancelled", self.responses.cancel(response.id).status)
        self.assertIn('vllm:num_requests_running{engine="0",model_name="m1"} 0.0', self.daemon.get("/metrics").decode())
        with self.assertRaises(openai.BadRequestError):
            self.responses.cancel(response.id)

    def test_background_stream(self) -> None:
        """A stream that was left is taken up where it was left."""
        name, seen = "", []
        with self.responses.create(model="m1", input="a " * 200, background=True, stream=True) as stream:
            for event in stream:
                seen.append(event)
                if event.type == "response.created":
                    name = event.response.id
                if event.sequence_number == 10:
                    break
        rest = list(self.responses.retrieve(name, stream=True, starting_after=10))
        self.assertEqual(11, rest[0].sequence_number)
        self.assertEqual("response.completed", rest[-1].type)
        deltas = [event.delta for event in [*seen, *rest] if event.type == "response.output_text.delta"]
        self.assertEqual("a " * 200, "".join(deltas))


class NoStoreTests(DaemonTestCase):
    """A server that stores nothing, as vLLM does by default."""

    words = ("--model", "m1", "--mode", "echo")

    def test_nothing_is_kept(self) -> None:
        """Responses are made and not kept; background ones are refused."""
        with openai.OpenAI(base_url=self.daemon.url("/v1"), api_key="x", max_retries=0) as client:
            response = client.responses.create(model="m1", input="hi", store=True)
            self.assertEqual("hi", response.output_text)
            with self.assertRaises(openai.NotFoundError):
                client.responses.retrieve(response.id)
            with self.assertRaises(openai.BadRequestError) as caught:
                client.responses.create(model="m1", input="hi", background=True)
            self.assertEqual("background", caught.exception.param)
