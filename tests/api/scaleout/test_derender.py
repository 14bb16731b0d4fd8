"""Token ids become answers."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, recorded, settings
from tests.api.scaleout.vocabulary import BOUNDS, Vocabulary
from vllmsim.api.scaleout.derender import ChatDerenderer, CompletionDerenderer
from vllmsim.api.scaleout.given import Bounds
from vllmsim.errors import InvalidRequest, MalformedRequest, UnknownModel

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f"}}


def given(*choices: list[int], **fields: Any) -> dict[str, Any]:
    """Make a generate response."""
    members = [{"index": index, "finish_reason": "stop", "token_ids": ids} for index, ids in enumerate(choices)]
    return {"request_id": "generate-tokens-1", "choices": members, **fields}


class ChatTests(SynchronousTestCase):
    """Chat completions."""

    def setUp(self) -> None:
        """Have a vocabulary."""
        self.vocabulary = Vocabulary()

    def read(self, asked: Any, **more: Any) -> Any:
        """Derender a generate response."""
        dialect = ChatDerenderer(settings(**more), self.vocabulary.words, BOUNDS)
        return json.loads(dialect.answer(json.dumps(asked).encode(), HEAD))

    def ids(self, *texts: str) -> list[int]:
        """Number some tokens, and end them."""
        return [*self.vocabulary.ids(*texts), self.vocabulary.eos]

    def test_text(self) -> None:
        """A generate response becomes a chat completion of its id, with every member that vLLM's has."""
        sent = self.read({"generate_response": given(self.ids("a ", "b")), "prompt_tokens": 7})
        self.assertEqual(list(json.loads(recorded("chat"))), list(sent))
        self.assertEqual(list(json.loads(recorded("chat"))["choices"][0]), list(sent["choices"][0]))
        self.assertEqual(("generate-tokens-1", "m1"), (sent["id"], sent["model"]))
        self.assertEqual(
            ("a b", "stop"), (sent["choices"][0]["message"]["content"], sent["choices"][0]["finish_reason"])
        )
        self.assertEqual((7, 3, 10), tuple(sent["usage"][f"{k}_tokens"] for k in ("prompt", "completion", "total")))
        self.assertIsNone(sent["choices"][0]["token_ids"])

    def test_no_choices(self) -> None:
        """A response without choices becomes one without choices."""
        sent = self.read({"generate_response": {"request_id": "r", "choices": []}, "chat_request": {"messages": HI}})
        self.assertEqual(([], None), (sent["choices"], sent["kv_transfer_params"]))

    def test_parts(self) -> None:
        """With the request, reasoning and calls are told from the rest; without it all is text."""
        ids = self.ids("<think>", "x", "</think>", "<tool_call>", "f", "{}", "</tool_call>")
        chat = {"messages": HI, "tools": [TOOL]}
        asked = {"generate_response": given(ids), "chat_request": chat}
        choice = self.read(asked, reasons=True)["choices"][0]
        self.assertEqual(("x", None), (choice["message"]["reasoning"], choice["message"]["content"]))
        self.assertEqual({"name": "f", "arguments": "{}"}, choice["message"]["tool_calls"][0]["function"])
        self.assertEqual("tool_calls", choice["finish_reason"])
        text = "<think>x</think><tool_call>f{}</tool_call>"
        for fields, more in (({}, {"reasons": True}), ({"chat_request": {"messages": HI}}, {})):
            sent = self.read({"generate_response": given(ids), **fields}, **more)
            self.assertEqual(text, sent["choices"][0]["message"]["content"])
        hidden = asked | {"chat_request": chat | {"include_reasoning": False}}
        self.assertIsNone(self.read(hidden, reasons=True)["choices"][0]["message"]["reasoning"])

    def test_forced_calls(self) -> None:
        """A named tool that was called leaves the finish reason as it was, and no text."""
        ids = self.ids("<tool_call>", "f", "{}", "</tool_call>")
        chat = {"messages": HI, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}
        choice = self.read({"generate_response": given(ids), "chat_request": chat})["choices"][0]
        self.assertEqual(("stop", ""), (choice["finish_reason"], choice["message"]["content"]))
        none = self.read({"generate_response": given(ids), "chat_request": chat | {"tool_choice": "none"}})
        self.assertNotIn("tool_calls", none["choices"][0]["message"])

    def test_ends(self) -> None:
        """Why a choice ended is said as it came, even where calls were cut."""
        ids = self.vocabulary.ids("<tool_call>", "f", "{")
        response = given(ids)
        response["choices"][0] |= {"finish_reason": "length", "stop_reason": "x"}
        chat = {"messages": HI, "tools": [TOOL]}
        choice = self.read({"generate_response": response, "chat_request": chat})["choices"][0]
        self.assertEqual(("length", "x"), (choice["finish_reason"], choice["stop_reason"]))
        del response["choices"][0]["finish_reason"]
        self.assertEqual("stop", self.read({"generate_response": response})["choices"][0]["finish_reason"])

    def test_what_is_passed_on(self) -> None:
        """Transfer parameters, the prompt's ids and probabilities, and log probabilities come through."""
        transfer, chances = {"do_remote_prefill": True}, [None, {"7": {"logprob": -1.0}}]
        response = given(self.ids("a"), kv_transfer_params=transfer, prompt_logprobs=chances, prompt_token_ids=[5, 6])
        response["choices"][0]["logprobs"] = {"content": [{"token_id": self.ids("a")[0], "logprob": -1.0, "rank": 1}]}
        chat = {"messages": HI, "return_token_ids": True, "prompt_logprobs": 1, "logprobs": True}
        sent = self.read({"generate_response": response, "chat_request": chat})
        self.assertEqual((transfer, chances), (sent["kv_transfer_params"], sent["prompt_logprobs"]))
        self.assertEqual(([5, 6], self.ids("a")), (sent["prompt_token_ids"], sent["choices"][0]["token_ids"]))
        self.assertEqual("a", sent["choices"][0]["logprobs"]["content"][0]["token"])
        sent = self.read({"generate_response": response, "chat_request": chat, "prompt_token_ids": [9]})
        self.assertEqual([9], sent["prompt_token_ids"])

    def test_refused(self) -> None:
        """What is missing, of a wrong type, text already, or too much is refused."""
        one = given(self.ids("a"))
        for asked, kind, text in (
            ({}, MalformedRequest, "'loc': 'body.generate_response'"),
            ({"generate_response": one | {"output_mode": "text"}}, MalformedRequest, "Input should be 'tokens'"),
            ({"generate_response": {"choices": []}}, MalformedRequest, "'loc': 'body.generate_response.request_id'"),
            ({"generate_response": given([-1])}, MalformedRequest, "'greater_than_equal'"),
            ({"generate_response": one, "prompt_tokens": -1}, MalformedRequest, "prompt_tokens"),
            ({"generate_response": one, "prompt_tokens": 2**60}, MalformedRequest, "prompt_tokens"),
            ({"generate_response": one, "stream": "x"}, MalformedRequest, "stream"),
            ({"generate_response": one, "model": "zzz"}, UnknownModel, "zzz"),
            ({"generate_response": given([])}, InvalidRequest, "has no token_ids"),
            ({"generate_response": given([1] * 21)}, InvalidRequest, "21 token_ids of choice 0"),
            ({"generate_response": one | {"prompt_logprobs": [None] * 21}}, InvalidRequest, "prompt_logprobs"),
            ({"generate_response": one, "chat_request": {"messages": []}}, InvalidRequest, "empty conversation"),
        ):
            error = self.assertRaises(kind, self.read, asked)
            self.assertIn(text, error.message)

    def test_too_many(self) -> None:
        """Choices and alternatives are counted too."""
        bounded = ChatDerenderer(settings(), self.vocabulary.words, Bounds(20, -1, sequences=3))
        many = json.dumps({"generate_response": given(*[[1]] * 4)}).encode()
        self.assertRaises(InvalidRequest, bounded.answer, many, HEAD)
        response = given([1])
        alternatives = [{"token_id": 1, "logprob": -1}] * 3
        response["choices"][0]["logprobs"] = {"content": [{"token_id": 1, "logprob": -1, "top_logprobs": alternatives}]}
        error = self.assertRaises(InvalidRequest, self.read, {"generate_response": response})
        self.assertIn("3 top_logprobs of choice 0; at most 2", error.message)
        liberal = ChatDerenderer(settings(), self.vocabulary.words, Bounds(20, -1))
        sent = json.loads(liberal.answer(json.dumps({"generate_response": response}).encode(), HEAD))
        self.assertEqual(3, len(sent["choices"][0]["logprobs"]["content"][0]["top_logprobs"]))

    def test_what_cannot_be_repeated(self) -> None:
        """A member that no JSON can hold again is refused."""
        asked = json.dumps({"generate_response": given([1], kv_transfer_params={"a": 1})}).encode()
        asked = asked.replace(b'{"a": 1}', b'{"a": 1%s, "b": NaN}' % (b"0" * 30))
        dialect = ChatDerenderer(settings(), self.vocabulary.words, BOUNDS)
        self.assertRaises(InvalidRequest, dialect.answer, asked, HEAD)


class CompletionTests(SynchronousTestCase):
    """Completions."""

    def setUp(self) -> None:
        """Have a vocabulary."""
        self.vocabulary = Vocabulary()

    def read(self, **asked: Any) -> Any:
        """Derender generate responses."""
        dialect = CompletionDerenderer(settings(), self.vocabulary.words, BOUNDS)
        return json.loads(dialect.answer(json.dumps(asked).encode(), HEAD))

    def test_responses(self) -> None:
        """Responses become one completion, whose choices are numbered through; tags are text."""
        a, b = self.vocabulary.ids("a", "<think>")
        eos = self.vocabulary.eos
        sent = self.read(generate_responses=[given([a, eos], [b]), given([b, eos])], prompt_tokens=[2, 3])
        self.assertEqual(list(json.loads(recorded("comp"))), list(sent))
        self.assertEqual(list(json.loads(recorded("comp"))["choices"][0]), list(sent["choices"][0]))
        self.assertEqual([(0, "a"), (1, "<think>"), (2, "<think>")], [(c["index"], c["text"]) for c in sent["choices"]])
        self.assertEqual((5, 5, 10), tuple(sent["usage"][f"{k}_tokens"] for k in ("prompt", "completion", "total")))

    def test_what_is_passed_on(self) -> None:
        """Transfer parameters come through where all agree; ids do where they were asked for."""
        transfer = {"do_remote_prefill": True}
        first, second = given([1], kv_transfer_params=transfer), given([2], prompt_token_ids=[8])
        self.assertEqual(transfer, self.read(generate_responses=[first])["kv_transfer_params"])
        asked = {"prompt": "x", "return_token_ids": True}
        sent = self.read(
            generate_responses=[first, second], prompt_token_ids=[[7], None], completion_request=asked, model="m2"
        )
        self.assertIsNone(sent["kv_transfer_params"])
        self.assertEqual([([1], [7]), ([2], [8])], [(c["token_ids"], c["prompt_token_ids"]) for c in sent["choices"]])

    def test_refused(self) -> None:
        """What is missing or does not fit together is refused."""
        for asked, kind, text in (
            ({}, MalformedRequest, "'loc': 'body.generate_responses'"),
            ({"generate_responses": []}, InvalidRequest, "must not be empty"),
            (
                {"generate_responses": [given([1])], "prompt_tokens": [1, 2]},
                MalformedRequest,
                "prompt_tokens length (2)",
            ),
            ({"generate_responses": [given([1])], "prompt_token_ids": []}, MalformedRequest, "prompt_token_ids length"),
            ({"generate_responses": [given([])]}, InvalidRequest, "has no token_ids"),
            ({"generate_responses": [given([1])], "model": "zzz"}, UnknownModel, "zzz"),
        ):
            error = self.assertRaises(kind, self.read, **asked)
            self.assertIn(text, error.message)
