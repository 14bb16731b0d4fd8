"""The tokenizer that comes with vllmsim."""

import json
import os
from functools import cache
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from twisted.trial.unittest import SynchronousTestCase

from tests.tokenization import training
from tests.tokenization.sentences import ENGLISH, SENTENCES

FOLDER = training.FOLDER
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Köln"}'}}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Tell the weather; « <b> »."}}
HOW_TO_CALL = (
    "To call one, say its name and its arguments between tags; for several calls, repeat the tags:\n"
    "<tool_call>\n"
    '{"name": "the name", "arguments": {"parameter": "value"}}\n'
    "</tool_call><|im_end|>\n"
)


@cache
def shipped() -> Tokenizer:
    """Load the tokenizer as anyone would."""
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def texts() -> st.SearchStrategy[str]:
    """Make texts of any characters, special tokens and blanks among them."""
    pieces = st.one_of(st.text(), st.sampled_from([*training.SPECIAL, " ", "\n", "\r\n", "\t", "\0", "n't", "\u0301"]))
    return st.lists(pieces, max_size=8).map("".join)


def render(messages: list[dict[str, Any]], **arguments: Any) -> str:
    """Render the chat template as transformers does."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(FOLDER.joinpath("chat_template.jinja").read_text("utf-8"))
    return template.render(messages=messages, **arguments)


class TrainingTests(SynchronousTestCase):
    """Where the tokenizer is from."""

    def test_same_again(self) -> None:
        """Whoever trains on the corpus gets the files that are shipped, to the byte."""
        # Threads would have every process that is forked later warn of them.
        with patch.dict(os.environ, TOKENIZERS_PARALLELISM="false"):
            trained = training.tokenizer_json()
        # No assertEqual: its message would be as long as the files.
        self.assertTrue(trained == FOLDER.joinpath("tokenizer.json").read_text("utf-8"), "run make tokenizer")
        written = FOLDER.joinpath("tokenizer_config.json").read_text("utf-8")
        self.assertEqual(training.tokenizer_config(), written)

    def test_corpus(self) -> None:
        """Every text of the corpus is trained on and accounted for."""
        folder = {path.name for path in training.CORPUS.iterdir()}
        self.assertEqual({*training.TEXTS, "README.rst"}, folder)
        told = training.CORPUS.joinpath("README.rst").read_text("utf-8")
        self.assertEqual([], [name for name in training.TEXTS if name not in told])

    def test_unseen(self) -> None:
        """No sentence that measures the tokenizer is in the corpus."""
        corpus = "\n".join(map(training.read, training.TEXTS))
        unseen = [*ENGLISH.split("\n\n"), *(text for _, text in SENTENCES.values())]
        self.assertEqual([], [text for text in unseen if text in corpus])


class VocabularyTests(SynchronousTestCase):
    """What tokens there are."""

    def test_size(self) -> None:
        """It has 8192 tokens, numbered without a gap, and its file stays small."""
        vocabulary = shipped().get_vocab()
        self.assertEqual(set(range(8192)), set(vocabulary.values()))
        self.assertLess(FOLDER.joinpath("tokenizer.json").stat().st_size, 400_000)

    def test_bytes(self) -> None:
        """Each of the 256 bytes is a token, so that no text lacks one."""
        vocabulary = shipped().get_vocab()
        self.assertEqual(set(range(256)), {vocabulary[character] for character in ByteLevel.alphabet()})

    def test_special(self) -> None:
        """A special token is one token wherever it stands, and only those that no client looks for are hidden."""
        tokenizer = shipped()
        for place, text in enumerate(training.SPECIAL):
            token = 8176 + place
            self.assertEqual([token], tokenizer.encode(text).ids)
            self.assertEqual(["a", text, "b"], tokenizer.encode(f"a{text}b").tokens)
            hidden = not text.startswith(("<think", "</think", "<tool_", "</tool_"))
            self.assertEqual("" if hidden else text, tokenizer.decode([token]))

    def test_configuration(self) -> None:
        """The configuration numbers the special tokens as the tokenizer does, and says which one ends a turn."""
        config = json.loads(FOLDER.joinpath("tokenizer_config.json").read_text("utf-8"))
        told = {
            int(token): (added["content"], added["special"]) for token, added in config["added_tokens_decoder"].items()
        }
        added = shipped().get_added_tokens_decoder()
        self.assertEqual({token: (each.content, each.special) for token, each in added.items()}, told)
        self.assertEqual(("<|im_end|>", "<|endoftext|>"), (config["eos_token"], config["pad_token"]))

    def test_length(self) -> None:
        """No token is longer than a long word."""
        merged = (token for token, number in shipped().get_vocab().items() if number < 8176)
        self.assertEqual([], [token for token in merged if len(token) > training.LONGEST_TOKEN])


class TextTests(SynchronousTestCase):
    """Text to tokens and back."""

    @settings(max_examples=300, deadline=None)
    @given(texts())
    def test_lossless(self, text: str) -> None:
        """Any text comes back from its tokens."""
        tokenizer = shipped()
        self.assertEqual(text, tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False))

    def test_every_character(self) -> None:
        """So does every character of Unicode's first plane, and of the second with its emoji."""
        tokenizer = shipped()
        for start in range(0, 0x20000, 0x1000):
            text = "".join(chr(code) for code in range(start, start + 0x1000) if not 0xD800 <= code < 0xE000)
            self.assertEqual(text, tokenizer.decode(tokenizer.encode(text).ids))

    def test_cuts(self) -> None:
        """Digits stand alone, blanks go to the word behind them, indents and ends of lines stay together."""
        tokenizer = shipped()
        for text, tokens in {
            "in 2026": ["in", "Ġ", "2", "0", "2", "6"],
            "I don't": ["I", "Ġdon", "'t"],
            "Hello world": ["Hello", "Ġworld"],
            "if x:\n        return": ["if", "Ġx", ":Ċ", "ĠĠĠĠĠĠĠ", "Ġreturn"],
            "end.\n\nThe": ["end", ".ĊĊ", "The"],
        }.items():
            self.assertEqual(tokens, tokenizer.encode(text).tokens)

    def test_english(self) -> None:
        """English prose has at least 3.3 bytes to a token."""
        self.assertGreaterEqual(len(ENGLISH) / len(shipped().encode(ENGLISH).ids), 3.3)

    def test_scripts(self) -> None:
        """Other languages, and code, have fewer, but far more than one."""
        tokenizer = shipped()
        reached = {
            name: (least, len(text.encode()) / len(tokenizer.encode(text).ids))
            for name, (least, text) in SENTENCES.items()
        }
        self.assertEqual({}, {name: both for name, both in reached.items() if both[1] < both[0]})


class ChatTemplateTests(SynchronousTestCase):
    """A conversation as a text."""

    def test_chat(self) -> None:
        """Each message is a turn, and the answer's turn is opened if that is asked for."""
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi!"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": " How are you?\n"},
        ]
        chat = (
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\nHi!<|im_end|>\n"
            "<|im_start|>assistant\nHello.<|im_end|>\n"
            "<|im_start|>user\n How are you?\n<|im_end|>\n"
        )
        self.assertEqual(chat, render(messages))
        self.assertEqual(chat + "<|im_start|>assistant\n", render(messages, add_generation_prompt=True))

    def test_no_thinking(self) -> None:
        """An answer without reasoning begins behind empty reasoning; enable_thinking is true unless said."""
        messages = [{"role": "user", "content": "Hi!"}]
        opened = "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n"
        for thinking, expected in ((False, opened + "<think>\n\n</think>\n\n"), (True, opened), (None, opened)):
            rendered = render(messages, add_generation_prompt=True, enable_thinking=thinking)
            self.assertEqual(expected, rendered)

    def test_tools(self) -> None:
        """Tools are defined in the system's turn, calls stand between tags, and so do the tools' answers."""
        bare = {"name": "now", "arguments": {"zone": "Ürümqi"}}
        messages: list[dict[str, Any]] = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Weather and time?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL, {"function": bare}]},
            {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
            {"role": "assistant", "content": "And now", "tool_calls": [{"function": {"name": "now", "arguments": ""}}]},
        ]
        self.assertEqual(
            "<|im_start|>system\nBe brief.\n\n"
            "These tools can be called, each defined by a line of JSON:\n"
            '{"type": "function", "function": {"name": "get_weather", "description": "Tell the weather; « <b> »."}}\n'
            f"{HOW_TO_CALL}"
            "<|im_start|>user\nWeather and time?<|im_end|>\n"
            "<|im_start|>assistant\n"
            '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "now", "arguments": {"zone": "Ürümqi"}}\n</tool_call><|im_end|>\n'
            "<|im_start|>tool\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
            '<|im_start|>assistant\nAnd now\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>\n',
            render(messages, tools=[TOOL]),
        )

    def test_tools_alone(self) -> None:
        """Without a system's message the tools have its turn for themselves; without either there is none."""
        rendered = render([{"role": "user", "content": "Hi!"}], tools=[TOOL, TOOL])
        self.assertTrue(rendered.startswith("<|im_start|>system\nThese tools can be called,"), rendered)
        self.assertEqual(2, rendered.count('"description"'))
        self.assertEqual("", render([]))

    def test_reasoning(self) -> None:
        """Reasoning is shown again until the user speaks next, under either of its names."""
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "reasoning": "I must ask.", "tool_calls": [CALL]},
            {"role": "tool", "content": "sunny"},
            {"role": "assistant", "content": "Sunny.", "reasoning_content": "Good."},
        ]
        call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call><|im_end|>\n'
        sunny = "<|im_start|>tool\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
        self.assertEqual(
            "<|im_start|>user\nWeather?<|im_end|>\n"
            f"<|im_start|>assistant\n<think>\nI must ask.\n</think>\n\n{call}{sunny}"
            "<|im_start|>assistant\n<think>\nGood.\n</think>\n\nSunny.<|im_end|>\n",
            render(messages),
        )
        self.assertEqual(
            "<|im_start|>user\nWeather?<|im_end|>\n"
            f"<|im_start|>assistant\n{call}{sunny}"
            "<|im_start|>assistant\nSunny.<|im_end|>\n"
            "<|im_start|>user\nThanks!<|im_end|>\n",
            render([*messages, {"role": "user", "content": "Thanks!"}]),
        )

    def test_parts(self) -> None:
        """Parts of a content follow each other, and what is no text is a token of its kind."""
        kinds = ("image_url", "image", "input_audio", "audio_url", "video_url")
        content: list[Any] = [
            {"type": "text", "text": "Look: "},
            *({"type": kind} for kind in kinds),
            "and ",
            {"text": "listen!"},
        ]
        self.assertEqual(
            "<|im_start|>user\nLook: <|image|><|image|><|audio|><|audio|><|video|>and listen!<|im_end|>\n",
            render([{"role": "user", "content": content}]),
        )

    def test_going_on(self) -> None:
        """The last message can be gone on with: it is in its turn as it is, and only the end of the turn follows."""
        last = "  Once upon a time,\n "
        rendered = render([{"role": "user", "content": "A tale!"}, {"role": "assistant", "content": last}])
        self.assertEqual(
            f"<|im_start|>user\nA tale!<|im_end|>\n<|im_start|>assistant\n{last}",
            rendered[: rendered.rindex(last) + len(last)],
        )
        self.assertEqual("<|im_end|>\n", rendered[rendered.rindex(last) + len(last) :])
