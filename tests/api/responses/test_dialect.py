"""What a Responses request becomes."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import EOS, HEAD, answer, prompt, settings
from tests.api.responses.test_answer import ABCD, PROMPT, WEATHER, call, composed
from tests.fakes import prefilled
from vllmsim.api.body import Head
from vllmsim.api.extent import Extent
from vllmsim.api.responses.dialect import ResponsesDialect
from vllmsim.api.responses.store import ResponseStore
from vllmsim.errors import (
    InferenceError,
    InvalidParameter,
    InvalidRequest,
    InvalidResponseUse,
    MalformedRequest,
    UnknownModel,
    UnknownResponse,
)
from vllmsim.inference import Conversation, Message
from vllmsim.sampling import Sampling

LIBERAL = Head("application/json", extent=Extent(1000, 1 << 20))
"""Of a server that takes bodies of any depth."""


def sampling(**body: Any) -> Sampling:
    """Read the sampling parameters."""
    return call(body).request.sampling


def messages(store: ResponseStore | None = None, **body: Any) -> tuple[Message, ...]:
    """Read the conversation."""
    [conversation] = call(body, store).request.prompts
    assert isinstance(conversation, Conversation)
    return conversation.messages


class SamplingTests(SynchronousTestCase):
    """Fields that decide how an answer is chosen."""

    def test_fields(self) -> None:
        """Every field has its place; those of other APIs mean nothing here."""
        self.assertEqual(
            Sampling(
                max_tokens=5, stop=("x", "y"), stop_token_ids=(3,), ignore_eos=True, seed=7, temperature=0.5,
                top_p=0.25, top_k=4, min_p=0.1, repetition_penalty=1.5, presence_penalty=1.0, frequency_penalty=-1.0,
                logit_bias=(9,),
            ),
            sampling(
                max_output_tokens=5, stop=["x", "y"], stop_token_ids=[3], ignore_eos=True, seed=7, temperature=0.5,
                top_p=0.25, top_k=4, min_p=0.1, repetition_penalty=1.5, presence_penalty=1.0, frequency_penalty=-1.0,
                logit_bias={"9": 1.0}, n=3, max_tokens=9, min_tokens=4, logprobs=True, prompt_logprobs=2,
            ),
        )  # fmt: skip
        self.assertEqual(Sampling(), sampling())
        self.assertEqual(("x",), sampling(stop="x").stop)

    def test_logprobs(self) -> None:
        """Log probabilities are made when they are included, as many as the request says."""
        included = ["reasoning.encrypted_content", "message.output_text.logprobs"]
        self.assertEqual(3, sampling(include=included, top_logprobs=3).logprobs)
        self.assertEqual(0, sampling(include=included).logprobs)
        self.assertIsNone(sampling(include=included[:1], top_logprobs=3).logprobs)
        self.assertRaises(InvalidParameter, sampling, top_logprobs=-2)
        self.assertRaises(MalformedRequest, sampling, include=["everything"])

    def test_limit(self) -> None:
        """A limit beyond the context is refused under its own name."""
        error = self.assertRaises(InvalidParameter, sampling, max_output_tokens=257)
        self.assertEqual(
            "max_output_tokens=257 cannot be greater than max_model_len=256. Please request fewer output tokens. "
            "(parameter=max_output_tokens, value=257)",
            error.message,
        )
        self.assertEqual(256, sampling(max_output_tokens=256).max_tokens)
        self.assertEqual(1, call({}, encoder_only=True).request.sampling.max_tokens)

    def test_wrong_types(self) -> None:
        """A field of a wrong type or out of its range is named."""
        for name, value in (
            ("input", 5), ("instructions", []), ("metadata", {"a": 1}), ("presence_penalty", 3),
            ("frequency_penalty", -3), ("stop", list("abcde")), ("service_tier", "best"), ("truncation", "some"),
            ("seed", 2**64), ("previous_response_id", 5), ("max_tool_calls", -1), ("previous_input_messages", ["x"]),
            ("max_tool_calls", 10**30), ("max_output_tokens", -(10**30)), ("top_logprobs", 10**30),
        ):  # fmt: skip
            error = self.assertRaises(MalformedRequest, call, {name: value})
            self.assertTrue(str(error.param).startswith(f"body.{name}"), error.param)

    def test_deep_values(self) -> None:
        """What is nested so deeply that an answer could not repeat it is refused."""
        deep: Any = {}
        for _ in range(400):
            deep = {"properties": {"a": deep}}
        for name, value in (
            ("tools", [{**WEATHER, "parameters": deep}]),
            ("tools", [{"type": "mcp", "x": deep}]),
            ("prompt_cache_options", deep),
            ("text", {"format": {"type": "json_schema", "name": "n", "schema": deep}}),
            ("tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": [{**WEATHER, "x": deep}]}),
        ):
            body = {name: value} | ({"tools": [WEATHER]} if name == "tool_choice" else {})
            self.assertRaises(InvalidRequest, call, body, head=LIBERAL)

    def test_many_wrong_values(self) -> None:
        """Of a hundred thousand wrong values the first is reported."""
        for name, value, param in (
            ("metadata", {f"{i}": i for i in range(100_000)}, "body.metadata.0"),
            ("tools", [5] * 100_000, "body.tools.0"),
            ("include", ["x"] * 100_000, "body.include.0"),
        ):
            error = self.assertRaises(MalformedRequest, call, {name: value}, head=LIBERAL)
            self.assertEqual(param, error.param)
            self.assertTrue(error.message.startswith("1 validation error:"))


class ConversationTests(SynchronousTestCase):
    """What the model reads."""

    def test_instructions(self) -> None:
        """Instructions are a system message before the input."""
        self.assertEqual((Message("user", "hi"),), messages())
        self.assertEqual((Message("system", "Be brief."), Message("user", "hi")), messages(instructions="Be brief."))

    def test_empty(self) -> None:
        """An input without items is refused, unless there are instructions."""
        error = self.assertRaises(InvalidRequest, messages, input=[])
        self.assertIn("empty conversation", error.message)
        self.assertEqual((Message("system", "x"),), messages(input=[], instructions="x"))

    def test_earlier_messages(self) -> None:
        """Messages that the client gives as earlier ones come before the input."""
        earlier = [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}]
        self.assertEqual(["a", "b", "hi"], [m.text for m in messages(previous_input_messages=earlier)])
        self.assertRaises(InvalidRequest, messages, previous_input_messages=earlier, previous_response_id="resp_1")

    def test_templates(self) -> None:
        """Templates of prompts, which OpenAI stores, are refused."""
        error = self.assertRaises(InvalidParameter, messages, prompt={"id": "p"})
        self.assertEqual("prompt", error.param)

    def test_media(self) -> None:
        """A text model refuses images."""
        image = [{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}]
        self.assertEqual("image: u", messages(input=image)[0].text)
        error = self.assertRaises(InvalidRequest, call, {"input": image}, multimodal=False)
        self.assertEqual("m1 is not a multimodal model", error.message)

    def test_salt(self) -> None:
        """A salt that is none is refused, as in chat requests."""
        self.assertRaises(InvalidParameter, messages, cache_salt="a/b")


class NameTests(SynchronousTestCase):
    """Ids and models."""

    def test_ids(self) -> None:
        """The answer's id is the header's, the body's, or a new one."""
        for head, body, name in (
            (HEAD, {}, "resp_0123456789abcdef"),
            (HEAD, {"request_id": "mine"}, "resp_mine"),
            (Head("application/json", "header"), {"request_id": "mine"}, "resp_header"),
        ):
            data = json.dumps({"input": "hi", **body}).encode()
            self.assertEqual(name, ResponsesDialect(settings(), 256, ResponseStore()).parse(data, head).reading.id)

    def test_models(self) -> None:
        """The model is the first served name; another one is unknown."""
        self.assertEqual("m1", call({"model": "m2"}).request.model)
        self.assertRaises(UnknownModel, call, {"model": "zz"})


class StoreTests(SynchronousTestCase):
    """Responses that go on."""

    def setUp(self) -> None:
        """Have a store, and ids that differ."""
        self.store = ResponseStore(10)
        ids = iter(range(1000))
        self.facts: dict[str, Any] = {"new_id": lambda: f"{next(ids)}"}

    def make(self, *, streamed: bool = False, said: Any = ABCD, **body: Any) -> Any:
        """Have a response made."""
        read = call({**body, "stream": streamed}, self.store, **self.facts)
        if not streamed:
            return json.loads(read.whole_encoder().body([PROMPT], prefilled([PROMPT]), [said]))
        assert read.stream_encoder is not None
        writer = read.stream_encoder()
        writer.opening([PROMPT], prefilled([PROMPT]))
        writer.tokens(0, said, 0, len(said))
        return json.loads(writer.closing().partition(b"data: ")[2])["response"]

    def test_kept(self) -> None:
        """A response is kept as it was answered, whole or streamed, unless the request does not want that."""
        for streamed in (False, True):
            response = self.make(streamed=streamed)
            kept = self.store.find(response["id"])
            self.assertEqual((response, "completed"), (json.loads(kept.body), kept.status))
            forgotten = self.make(streamed=streamed, store=False)
            self.assertRaises(UnknownResponse, self.store.find, forgotten["id"])

    def test_going_on(self) -> None:
        """A response goes on with its input and output, but not with its instructions."""
        for streamed in (False, True):
            first = self.make(input="one", instructions="Be brief.", streamed=streamed)
            second = self.make(input="two", previous_response_id=first["id"], streamed=streamed)
            self.assertEqual(first["id"], second["previous_response_id"])
            self.assertEqual(
                (
                    Message("system", "Be long."), Message("user", "one"), Message("assistant", "ab cd"),
                    Message("user", "two"), Message("assistant", "ab cd"), Message("user", "three"),
                ),
                messages(self.store, input="three", instructions="Be long.", previous_response_id=second["id"]),
            )  # fmt: skip

    def test_calls_go_on(self) -> None:
        """The result of a call finds the call before it; then, and in later turns, no tool is called unasked."""
        said = composed(("reasoning", 1, 1, ["think"], ""), ("call", 2, 1, ["{}"], "get_w"))
        first = self.make(input="weather?", tools=[WEATHER], said=said)
        call_id = first["output"][1]["call_id"]
        result = [{"type": "function_call_output", "call_id": call_id, "output": "sunny"}]
        self.assertEqual(
            (Message("user", "weather?"), Message("assistant", "[get_w({})]"), Message("tool", "sunny", call_id)),
            messages(self.store, input=result, previous_response_id=first["id"]),
        )
        second = self.make(input=result, previous_response_id=first["id"])
        later = call({"tools": [WEATHER], "previous_response_id": second["id"]}, self.store)
        self.assertIsNone(later.request.form.tools)

    def test_references(self) -> None:
        """An item of a stored response can be referred to."""
        [item] = self.make()["output"]
        self.assertEqual("ab cd", messages(self.store, input=[{"type": "item_reference", "id": item["id"]}])[0].text)
        error = self.assertRaises(InvalidResponseUse, messages, input=[{"type": "item_reference", "id": item["id"]}])
        self.assertEqual(f"Item with id '{item['id']}' not found.", error.message)

    def test_nothing_said(self) -> None:
        """A response without output goes on too."""
        first = self.make(said=answer(EOS))
        self.assertEqual(["hi", "hi"], [m.text for m in messages(self.store, previous_response_id=first["id"])])

    def test_background(self) -> None:
        """A response can be made in the background if it is stored."""
        self.assertIsNotNone(call({"background": True}, self.store).background)
        self.assertIsNone(call({}, self.store).background)
        for store, body in ((self.store, {"store": False}), (ResponseStore(), {})):
            error: InferenceError = self.assertRaises(InvalidResponseUse, call, {"background": True, **body}, store)
            self.assertEqual((400, "background"), (error.status, error.param))

    def test_the_order_of_checks(self) -> None:
        """The model is looked at before the store, and this before the limit."""
        self.assertRaises(UnknownModel, call, {"model": "zz", "background": True})
        self.assertRaises(InvalidResponseUse, call, {"background": True, "previous_response_id": "x"})
        self.assertRaises(UnknownResponse, call, {"previous_response_id": "x", "max_output_tokens": 1000})


class RetrievalTests(SynchronousTestCase):
    """The query of a request for a response."""

    def test_queries(self) -> None:
        """Events are wanted if the query says so, from the one after the given number on."""
        dialect = ResponsesDialect(settings(), 256, ResponseStore())
        for query, expected in (
            ({}, (False, 0)),
            ({"stream": ["true"]}, (True, 0)),
            ({"stream": ["1"], "starting_after": ["4"]}, (True, 5)),
            ({"stream": ["false"], "starting_after": ["-7"]}, (False, 0)),
        ):
            self.assertEqual(expected, dialect.parse_retrieval(query))
        for name, value in (("stream", "x"), ("starting_after", "x"), ("starting_after", str(2**64))):
            error = self.assertRaises(MalformedRequest, dialect.parse_retrieval, {name: [value]})
            self.assertEqual(f"query.{name}", error.param)

    def test_prompt_is_not_needed(self) -> None:
        """The object says how long the answer may be once the prompt is read."""
        reading = call({}).reading
        self.assertIsNone(reading.object("queued")["max_output_tokens"])
        self.assertEqual(255, reading.object("in_progress", len(prompt([1]).ids))["max_output_tokens"])
