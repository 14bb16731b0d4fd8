"""Tokens and chat templates beside those of transformers, where that is installed: ``make clients``."""

import importlib.util
import os
import time
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from tokenizers import Tokenizer
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from tests.tokenization import small
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Conversation, Message, Template, TextPrompt
from vllmsim.tokenization.chat.turns import turns_for
from vllmsim.tokenization.huggingface import load_tokenizer

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)

CHATML = """
{%- macro definitions(tools) -%}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
{%- endmacro -%}
{%- set ns = namespace(last_user=-1) %}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {%- set ns.last_user = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "You may call:\\n<tools>" ~ definitions(tools) ~ "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' ~ messages[0].content ~ '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "system" and loop.first %}
        {%- continue %}
    {%- endif %}
    {%- if message.role == "tool" %}
        {{- '<|im_start|>user\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response><|im_end|>\\n' }}
        {%- continue %}
    {%- endif %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.role == "assistant" %}
        {%- if message.reasoning_content is string and loop.index0 > ns.last_user %}
            {{- '<think>\\n' ~ message.reasoning_content.strip('\\n') ~ '\\n</think>\\n\\n' }}
        {%- endif %}
        {%- generation %}{{ message.content }}{% endgeneration %}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
            {{- call.function.arguments | tojson ~ '}\\n</tool_call>' }}
        {%- endfor %}
    {%- else %}
        {{- message.content }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
"""In the style of Qwen: tools, calls of tools, and reasoning that is forgotten."""

HEADERS = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message + "<|eot_id|>" }}
{% for message in messages %}
    {%- if 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", ' }}
        {{- '"parameters": ' }}{{ call.arguments | tojson }}{{ "}<|eot_id|>" }}
    {%- elif message.role == "tool" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" + (message.content | tojson) + "<|eot_id|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- for document in documents or [] %}
[{{ document.title }}: {{ document.text }}]
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""
"""In the style of Llama 3: the token that begins a text, the day, one call at a time."""

BRACKETS = """
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages if message.role in ("user", "assistant") %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("After the optional system message, roles must alternate user/assistant") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message.role == "user" %}
        {{- "[INST]" }}
        {%- if loop.last and system_message is defined %}
            {%- for block in system_message %}{{ block["text"] }}{% endfor %}
            {{- "\\n\\n" }}
        {%- endif %}
        {%- for block in message["content"] %}
            {%- if block["type"] == "text" %}
                {{- block["text"] }}
            {%- elif block["type"] in ["image", "image_url"] %}
                {{- "[IMG]" }}
            {%- else %}
                {{- raise_exception("Only text and image blocks are supported!") }}
            {%- endif %}
        {%- endfor %}
        {{- "[/INST]" }}
    {%- elif message.role == "assistant" %}
        {%- for block in message["content"] %}{{ block["text"] }}{% endfor %}
        {{- eos_token }}
    {%- else %}
        {{- "[TOOL_RESULTS]" ~ message.content ~ message.tool_call_id ~ "[/TOOL_RESULTS]" }}
    {%- endif %}
{%- endfor %}"""
"""In the style of Mistral: content in parts, and roles that must alternate."""

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "Tell the <weather> & more: «é».", "parameters": {"type": "object"}},
}
CALL = {
    "id": "c12345678",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Köln", "n": 1.0}'},
}
IMAGE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "plain": [{"role": "user", "content": "Hello, 東京 🎉!"}],
    "system": [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "  Hi \n"}],
    "turns": [
        {"role": "user", "content": "One <b>&amp;</b>"},
        {"role": "assistant", "content": "Two", "reasoning": "\nhm\n"},
        {"role": "user", "content": "Three <|im_end|>", "name": "Ada"},
    ],
    "tools": [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning": "A call?"},
        {"role": "tool", "content": '{"t": 20}', "tool_call_id": "c12345678"},
        {"role": "assistant", "content": "It is 20 degrees. "},
    ],
    "image": [{"role": "user", "content": IMAGE}],
    "developer": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
    "twice": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "calls": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}],
}
SAID: dict[str, dict[str, Any]] = {
    "plain": {},
    "tools": {"tools": (TOOL, TOOL)},
    "ends": {"begins": False},
    "continued": {"begins": False, "goes_on": True},
    "arguments": {"arguments": {"enable_thinking": False, "date_string": "1 May", "bos_token": "<b>"}},
    "documents": {"documents": ({"title": "T", "text": "X"},)},
}


@needs_transformers
@pytest.mark.filterwarnings("ignore")
class TransformersTests(SynchronousTestCase):
    """What transformers makes of the same folder."""

    def setUp(self) -> None:
        """Have a folder."""
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        # Nothing is asked of the hub.
        hub = patch.dict(os.environ, HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
        hub.start()
        self.addCleanup(hub.stop)

    def load(self, backend: Tokenizer, template: str | None = None, **config: Any) -> tuple[Any, Any]:
        """Load a tokenizer here and there."""
        from transformers import AutoTokenizer  # noqa: PLC0415 - it may be missing

        small.write_folder(self.folder, backend, bos_token="<s>", chat_template=template, **config)
        ours = load_tokenizer(self.folder, in_thread)
        self.addCleanup(lambda: Deferred.fromCoroutine(ours.close()))
        return ours, AutoTokenizer.from_pretrained(self.folder)

    def ours(self, tokenizer: Any, prompt: Any) -> Any:
        """Read a prompt here."""
        results: list[Any] = []
        Deferred.fromCoroutine(tokenizer.read(prompt, 10**9)).addBoth(results.append)
        return results[0]

    def test_templates(self) -> None:
        """Every conversation is the same text and the same ids, or is refused with the same words."""
        # The day must not change in between.
        now = time.time()
        rendered = refused = 0
        for template, parts in ((CHATML, False), (HEADERS, False), (BRACKETS, True)):
            ours, theirs = self.load(small.bpe(), template)
            for name, turns in CONVERSATIONS.items():
                for said, options in SAID.items():
                    given = Template(**options)
                    conversation = Conversation(tuple(Message(t["role"], "", turn=t) for t in turns), given)
                    found = self.ours(ours, conversation)
                    # What vLLM hands to transformers.
                    messages = turns_for(turns, parts=parts, developers=False)
                    try:
                        expected = theirs.apply_chat_template(
                            messages,
                            tools=given.tools and list(given.tools),
                            documents=given.documents and list(given.documents),
                            add_generation_prompt=given.begins,
                            continue_final_message=given.goes_on,
                            tokenize=False,
                            **given.arguments,
                        )
                    except Exception as error:  # noqa: BLE001 - it is what is compared
                        refused += 1
                        found.trap(InvalidRequest)
                        self.assertEqual(str(error)[:200], found.value.message[:200], (name, said))
                    else:
                        rendered += 1
                        self.assertEqual(expected, found.text, (name, said))
                        ids = theirs(expected, add_special_tokens=False)["input_ids"]
                        self.assertEqual(ids, list(found.ids))
        self.assertEqual((time.localtime(now).tm_yday), time.localtime().tm_yday)
        self.assertGreater(rendered, 100)
        self.assertGreater(refused, 5)

    def test_texts(self) -> None:
        """Every text has the same ids, with and without the tokens around it, in each family of tokenizers."""
        for family in small.FAMILIES:
            ours, theirs = self.load(family())
            self.assertEqual((len(theirs), theirs.eos_token_id), (ours.vocabulary_size, ours.eos_id))
            for text in small.texts(200):
                for special in (True, False):
                    expected = theirs(text, add_special_tokens=special)["input_ids"]
                    self.assertEqual(expected, list(self.ours(ours, TextPrompt(text, special)).ids))

    def test_decoding(self) -> None:
        """Ids are the same text, cleaned or not."""
        for family in small.FAMILIES:
            for clean in (True, False):
                ours, theirs = self.load(family(), clean_up_tokenization_spaces=clean)
                for text in small.texts(100):
                    ids = theirs(text)["input_ids"]
                    results: list[Any] = []
                    Deferred.fromCoroutine(ours.decode(ids)).addBoth(results.append)
                    self.assertEqual([theirs.decode(ids)], results)

    def test_added_tokens(self) -> None:
        """Tokens that only the configuration has get the same ids."""
        size = small.bpe().get_vocab_size(with_added_tokens=True)
        added = {
            str(size + 1): {"content": "<b>", "special": False, "lstrip": True},
            str(size): {"content": "<a>", "special": True},
        }
        for config in (
            {"added_tokens_decoder": added, "pad_token": "<pad>", "extra_special_tokens": ["<x>", "<y>"]},
            {"pad_token": "<pad>", "additional_special_tokens": ["<x>"], "mask_token": "<m>"},
        ):
            ours, theirs = self.load(small.bpe(), **config)
            self.assertEqual(len(theirs), ours.vocabulary_size)
            text = "a <b> <a><pad>b<x> <y><m>"
            self.assertEqual(theirs(text)["input_ids"], list(self.ours(ours, TextPrompt(text)).ids))
