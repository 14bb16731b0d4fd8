"""Rendered requests, byte for byte."""

import json
import re
from base64 import b64decode
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import CHAT_PROMPT, HEAD, recorded, settings
from vllmsim.api.body import Head
from vllmsim.api.scaleout.generate import GenerateDialect
from vllmsim.api.scaleout.render import RenderDialect, repeat
from vllmsim.api.scaleout.renderers import ChatRenderer, CompletionRenderer, MessagesRenderer, ResponsesRenderer
from vllmsim.errors import InvalidRequest, MalformedRequest, UnknownModel
from vllmsim.inference import Span, TokenizedPrompt

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def rendered(
    dialect: RenderDialect, asked: Any, *ids: list[int], head: Head = HEAD, media: tuple[Span, ...] = ()
) -> bytes:
    """Render a request whose prompts have some token ids and media."""
    rendering = dialect.render(json.dumps(asked).encode(), head)
    request = rendering.request
    given = zip(request.prompts, ids or ([1, 2, 3, 4],), strict=True)
    prompts = [TokenizedPrompt(prompt, "", each, [""] * len(each), media) for prompt, each in given]
    return rendering.body(prompts, [request.sampling] * len(prompts))


def normal(data: bytes) -> bytes:
    """Take out the ids."""
    return re.sub(rb"(chatcmpl|cmpl)-[0-9a-f]{16}", rb"\1-ID", data)


class RecordingTests(SynchronousTestCase):
    """What vLLM sent."""

    def test_chat(self) -> None:
        """A chat request is rendered to vLLM's bytes."""
        asked = {"messages": HI, "max_tokens": 5, "vllm_xargs": {"sim_text": "ab"}}
        sent = rendered(ChatRenderer(settings(reasons=True)), asked, CHAT_PROMPT)
        self.assertEqual(normal(recorded("render")), normal(sent))

    def test_completion(self) -> None:
        """A completion request is rendered to vLLM's bytes."""
        sent = rendered(CompletionRenderer(settings()), {"prompt": "Hello", "max_tokens": 5}, [297, 332])
        self.assertEqual(normal(recorded("renderc")), normal(sent))


class ChatTests(SynchronousTestCase):
    """What chat requests change."""

    def render(self, fields: dict[str, Any] | None = None, media: tuple[Span, ...] = (), **more: Any) -> Any:
        """Render a chat request."""
        asked = {"messages": HI, **(fields or {})}
        return json.loads(rendered(ChatRenderer(settings(**more)), asked, [1, 2, 3, 4], media=media))

    def test_sampling(self) -> None:
        """What differs from the engine's defaults is shown, in the engine's order."""
        asked = {
            "n": 2, "top_k": 3, "seed": 7, "stop": "x", "stop_token_ids": [5], "ignore_eos": True, "max_tokens": 9,
            "min_tokens": 1, "logprobs": True, "top_logprobs": 4, "prompt_logprobs": 1, "logit_bias": {"07": 2},
            "allowed_token_ids": [7], "bad_words": ["y"], "skip_special_tokens": False, "thinking_token_budget": 6,
            "include_stop_str_in_output": True, "kv_transfer_params": {"do_remote_decode": True}, "top_p": 0.5,
            "spaces_between_special_tokens": False, "structured_outputs": {"regex": "a+"},
        }  # fmt: skip
        shown = self.render(asked)["sampling_params"]
        self.assertEqual(
            {"n": 2, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "temperature": 1.0,
             "top_p": 0.5, "top_k": 3, "min_p": 0.0, "seed": 7, "stop": ["x"], "stop_token_ids": [5],
             "ignore_eos": True, "max_tokens": 9, "min_tokens": 1, "logprobs": 4, "prompt_logprobs": 1,
             "skip_special_tokens": False, "spaces_between_special_tokens": False, "include_stop_str_in_output": True,
             "output_kind": 2, "skip_clone": True, "structured_outputs": {"regex": "a+"}, "logit_bias": {"7": 2.0},
             "allowed_token_ids": [7], "extra_args": {"kv_transfer_params": {"do_remote_decode": True}},
             "bad_words": ["y"], "skip_reading_prefix_cache": True, "thinking_token_budget": 6},
            shown,
        )  # fmt: skip
        order = ["n", "presence_penalty", "top_k", "max_tokens", "output_kind", "structured_outputs", "bad_words"]
        self.assertEqual(order, [name for name in shown if name in order])

    def test_structures(self) -> None:
        """Structures are shown as the engine has them, whichever way they were asked for."""
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        for asked, shown in (
            ({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}, {"json": schema}),
            ({"response_format": {"type": "json_object"}}, {"json_object": True}),
            ({"structured_outputs": {"choice": ["a", "b"]}}, {"choice": ["a", "b"]}),
        ):
            self.assertEqual(shown, self.render(asked)["sampling_params"]["structured_outputs"])

    def test_stream(self) -> None:
        """A streamed request is a streamed generate request."""
        shown = self.render({"stream": True, "stream_options": {"include_usage": True}})
        self.assertEqual(
            (True, {"include_usage": True, "continuous_usage_stats": False}, 1),
            (shown["stream"], shown["stream_options"], shown["sampling_params"]["output_kind"]),
        )

    def test_tools(self) -> None:
        """Tools are kept for whoever reads the answer, with the calls there have been."""
        calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        messages = [*HI, {"role": "assistant", "tool_calls": calls}, {"role": "tool", "content": "x"}]
        context = self.render({"messages": messages, "tools": [TOOL]})["parse_context"]
        self.assertEqual(("auto", 1, "f"), (context["tool_choice"], context["history_tool_call_cnt"],
                                            context["tools"][0]["function"]["name"]))  # fmt: skip
        choice = {"type": "function", "function": {"name": "f"}}
        context = self.render({"tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": False})["parse_context"]
        self.assertEqual((choice, False, 0), (context["tool_choice"], context["parallel_tool_calls"],
                                              context["history_tool_call_cnt"]))  # fmt: skip

    def test_reasoning(self) -> None:
        """A server that reasons says whether the prompt leaves room for it."""
        self.assertFalse(self.render(reasons=True)["reasoning_ended"])
        asked = {"reasoning_effort": "none", "chat_template_kwargs": {"a": 1}}
        shown = self.render(asked, reasons=True)
        template = {"cohere_format": "cmd4", "a": 1, "add_generation_prompt": True, "continue_final_message": False,
                    "reasoning_effort": "none"}  # fmt: skip
        self.assertEqual((True, {"chat_template_kwargs": template}),
                         (shown["reasoning_ended"], shown["reasoning_parser_kwargs"]))  # fmt: skip
        shown = self.render()
        self.assertEqual((None, None), (shown["reasoning_ended"], shown["reasoning_parser_kwargs"]))

    def test_media(self) -> None:
        """Images are shown by hash, place and data; the data can be left out."""
        image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
        messages = [{"role": "user", "content": [image, {"type": "text", "text": "what?"}, image]}]
        media = (Span("h1", 0, 5), Span("h2", 5, 4), Span("h3", 9, 1, "audio"))
        features = self.render({"messages": messages}, media=media)["features"]
        self.assertEqual({"image": ["h1", "h2"], "audio": ["h3"]}, features["mm_hashes"])
        places = {"image": [{"offset": 0, "length": 5}, {"offset": 5, "length": 4}]}
        self.assertEqual(places | {"audio": [{"offset": 9, "length": 1}]}, features["mm_placeholders"])
        self.assertEqual(b"h3", b64decode(features["kwargs_data"]["audio"][0]))
        self.assertEqual((2, None), (len(features["kwargs_data"]["image"]), features["mm_metadata"]))
        hidden = self.render({"messages": messages, "return_mm_kwargs": False}, media=media)["features"]
        self.assertIsNone(hidden["kwargs_data"])
        self.assertIsNone(self.render()["features"])
        self.assertRaises(InvalidRequest, self.render, {"messages": messages}, multimodal=False)

    def test_identity(self) -> None:
        """The id is the client's if it has one; an alias is shown under the first name."""
        head = Head("application/json", "abc")
        asked = {"messages": HI, "model": "m2", "priority": 3, "cache_salt": "s", "return_token_ids": True}
        shown = json.loads(rendered(ChatRenderer(settings()), asked, head=head))
        self.assertEqual(
            ("chatcmpl-abc", "m1", 3, "s", True),
            tuple(shown[name] for name in ("request_id", "model", "priority", "cache_salt", "return_token_ids")),
        )

    def test_refused(self) -> None:
        """What a chat completion refuses, its rendering refuses; so is beam search."""
        self.assertRaises(InvalidRequest, self.render, {"messages": []})
        self.assertRaises(UnknownModel, self.render, {"model": "zzz"})
        self.assertRaises(MalformedRequest, self.render, {"messages": "x"})
        self.assertRaises(InvalidRequest, self.render, {"use_beam_search": True})

    def test_there_and_back(self) -> None:
        """What is rendered can be generated: it says the same of the answer."""
        asked = {"messages": HI, "tools": [TOOL], "tool_choice": "required", "max_tokens": 7, "temperature": 0.5,
                 "stop": ["x"], "logit_bias": {"5": 1}, "kv_transfer_params": {"do_remote_prefill": True}}  # fmt: skip
        renderer = ChatRenderer(settings(reasons=True))
        request = renderer.render(json.dumps(asked).encode(), HEAD).request
        again = GenerateDialect(settings(reasons=True), 256).parse(rendered(renderer, asked), HEAD).request
        self.assertEqual(request.sampling, again.sampling)
        self.assertEqual((request.model, True, True), (again.model, again.remote_prefill, again.form.thinks))
        assert again.form.tools is not None
        self.assertEqual(1, again.form.tools.least)


class MessagesTests(SynchronousTestCase):
    """What Messages requests become."""

    def test_as_chat(self) -> None:
        """A Messages request is rendered as the chat request that it is."""
        tool = {"name": "f", "input_schema": {"type": "object"}}
        asked = {"model": "m1", "max_tokens": 2000, "system": "s", "messages": HI, "tools": [tool], "top_k": 5,
                 "tool_choice": {"type": "any"}, "thinking": {"type": "enabled", "budget_tokens": 1024}}  # fmt: skip
        shown = json.loads(rendered(MessagesRenderer(settings(reasons=True)), asked))
        self.assertRegex(shown["request_id"], "^chatcmpl-")
        sampling, context = shown["sampling_params"], shown["parse_context"]
        self.assertEqual(
            (2000, 5, 1024), (sampling["max_tokens"], sampling["top_k"], sampling["thinking_token_budget"])
        )
        self.assertEqual(("required", "f"), (context["tool_choice"], context["tools"][0]["function"]["name"]))
        plain = {"model": "m1", "max_tokens": 5, "messages": HI, "thinking": {"type": "disabled"}}
        shown = json.loads(rendered(MessagesRenderer(settings(reasons=True)), plain))
        self.assertEqual((True, None, "none"), (shown["reasoning_ended"], shown["parse_context"]["tools"],
                                                shown["parse_context"]["tool_choice"]))  # fmt: skip


class ResponsesTests(SynchronousTestCase):
    """What Responses requests become."""

    def render(self, asked: dict[str, Any], **more: Any) -> Any:
        """Render a Responses request."""
        return json.loads(rendered(ResponsesRenderer(settings(**more), 256), {"input": "hi", **asked}))

    def test_request(self) -> None:
        """What a Responses request says in its own way is said in the engine's."""
        tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "description": "d"}
        result = [{"type": "function_call_output", "call_id": "c", "output": "x"}, {"role": "user", "content": "so?"}]
        asked = {"input": result, "max_output_tokens": 7, "tools": [tool], "top_k": 5, "logit_bias": {"5": 1},
                 "vllm_xargs": {"a": 1}, "reasoning": {"effort": "none"}, "stream": True, "priority": 2}  # fmt: skip
        shown = self.render(asked, reasons=True)
        self.assertRegex(shown["request_id"], "^resp_")
        sampling, context = shown["sampling_params"], shown["parse_context"]
        self.assertEqual((7, 5, {"5": 1.0}, {"a": 1}, 1),
                         (sampling["max_tokens"], sampling["top_k"], sampling["logit_bias"], sampling["extra_args"],
                          sampling["output_kind"]))  # fmt: skip
        function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": None}
        self.assertEqual([{"type": "function", "function": function}], context["tools"])
        self.assertEqual(("auto", 1, "none"), (context["tool_choice"], context["history_tool_call_cnt"],
                                               context["chat_template_kwargs"]["reasoning_effort"]))  # fmt: skip
        self.assertEqual((True, True, None, 2), (shown["reasoning_ended"], shown["stream"], shown["stream_options"],
                                                 shown["priority"]))  # fmt: skip

    def test_plain(self) -> None:
        """What is not said is what it is in a chat."""
        shown = self.render({"tools": [{"type": "web_search"}]})
        self.assertEqual((None, "none"), (shown["parse_context"]["tools"], shown["parse_context"]["tool_choice"]))
        self.assertEqual((None, None), (shown["reasoning_ended"], shown["reasoning_parser_kwargs"]))

    def test_no_history(self) -> None:
        """A request that goes on from a response is refused."""
        error = self.assertRaises(InvalidRequest, self.render, {"previous_response_id": "resp_1"})
        self.assertEqual("previous_response_id", error.param)


class CompletionTests(SynchronousTestCase):
    """What completion requests change."""

    def test_several(self) -> None:
        """Every prompt has a request of its own, and its own id."""
        renderer = CompletionRenderer(settings())
        shown = json.loads(rendered(renderer, {"prompt": [[1, 2], [3]], "request_id": "a"}, [1, 2], [3]))
        self.assertEqual([("cmpl-a-0", [1, 2]), ("cmpl-a-1", [3])], [(s["request_id"], s["token_ids"]) for s in shown])
        [shown] = json.loads(rendered(renderer, {"prompt": "x", "request_id": "a"}))
        self.assertEqual("cmpl-a", shown["request_id"])

    def test_refused(self) -> None:
        """What a completion refuses, its rendering refuses."""
        self.assertRaises(InvalidRequest, rendered, CompletionRenderer(settings()), {})


class RepeatTests(SynchronousTestCase):
    """Members of a request in an answer."""

    def test_impossible(self) -> None:
        """What cannot be written is refused; it is the client's fault, not ours."""
        deep: Any = 1
        for _ in range(300):
            deep = [deep]
        for value in (deep, 2**70):
            self.assertRaises(InvalidRequest, repeat, {"x": value})
        asked = b'{"messages":[{"role":"user","content":"x"}],"seed":NaN,"vllm_xargs":{"a":1%s}}' % (b"0" * 30)
        error = self.assertRaises(MalformedRequest, ChatRenderer(settings()).render, asked, HEAD)
        self.assertIn("seed", error.message)
        asked = asked.replace(b'"seed"', b'"temperature_"')
        rendering = ChatRenderer(settings()).render(asked, HEAD)
        prompts = [TokenizedPrompt(rendering.request.prompts[0], "", [1], [""])]
        self.assertRaises(InvalidRequest, rendering.body, prompts, [rendering.request.sampling])
