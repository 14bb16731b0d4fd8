"""The shapes of a render service's bodies."""

import json
from typing import Any

from twisted.web.server import Request

from tests.tokenization.fakerender import HOST, RenderTestCase
from vllmsim.errors import InferenceError
from vllmsim.inference import Conversation, Media, Message, Span, Template
from vllmsim.tokenization.render.routes import Rendered

TOOL = {"type": "function", "function": {"name": "f"}}


class QuestionTests(RenderTestCase):
    """What is asked."""

    def test_text(self) -> None:
        """A text goes as a prompt, with or without special tokens, and room for one token."""
        self.result(self.routes.render(self.routes.text("Hello", special=False)))
        expected = {"model": "m", "prompt": "Hello", "add_special_tokens": False, "max_tokens": 1}
        self.assertEqual([("/v1/completions/render", expected)], self.render.asked)

    def test_conversation(self) -> None:
        """A conversation goes as the client has sent it."""
        turn = {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "n"}
        question = self.routes.conversation(Conversation((Message("user", "hi", turn=turn),)))
        self.assertEqual("/v1/chat/completions/render", question.path)
        expected = {
            "model": "m",
            "messages": [turn],
            "add_generation_prompt": True,
            "continue_final_message": False,
            "add_special_tokens": False,
        }
        self.assertEqual(expected, question.body)

    def test_template(self) -> None:
        """What is said of the chat template goes along, and so do tools, which nobody there is to look for."""
        template = Template(
            begins=False,
            goes_on=True,
            source="{{x}}",
            tools=(TOOL,),
            documents=({"d": 1},),
            arguments={"a": 1},
            special=True,
        )
        body = self.routes.conversation(Conversation((Message("user", "hi"),), template)).body
        expected = {
            "add_generation_prompt": False,
            "continue_final_message": True,
            "add_special_tokens": True,
            "chat_template": "{{x}}",
            "tools": (TOOL,),
            "tool_choice": "none",
            "documents": ({"d": 1},),
            "chat_template_kwargs": {"a": 1},
        }
        self.assertEqual(expected, {name: body[name] for name in expected})

    def test_patience(self) -> None:
        """Prompts with media of any kind may take longer."""
        for media, within in (((), 30.0), ((Media("image", "x"),), 60.0), ((Media("audio", "xy"),), 60.0)):
            question = self.routes.conversation(Conversation((Message("user", "hi", media=media),)))
            self.assertEqual(within, question.within)
        self.assertEqual(4, question.size)

    def test_tokens(self) -> None:
        """Spellings are asked for, and texts, and how the tokenizer was made."""
        ids = self.render.tokenizer.encode("Hello", add_special_tokens=False).ids
        pieces = [self.render.tokenizer.id_to_token(each) for each in ids]
        self.assertEqual((ids, pieces), self.result(self.routes.tokenize(self.routes.text("Hello", special=False))))
        self.assertEqual("Hello", self.result(self.routes.detokenize(tuple(ids))))
        self.assertEqual("Fake", self.result(self.routes.describe())["tokenizer_class"])

    def test_missing(self) -> None:
        """Routes that are not there tell nothing."""
        self.render.remove("/tokenize", "/detokenize", "/tokenizer_info")
        self.assertIsNone(self.result(self.routes.tokenize(self.routes.text("Hello", special=False))))
        self.assertIsNone(self.result(self.routes.detokenize((1,))))
        self.assertIsNone(self.result(self.routes.describe()))


class AnswerTests(RenderTestCase):
    """What is understood."""

    def answer_with(self, value: Any) -> None:
        """Have every route answer so."""

        def answer(_: Request) -> bytes:
            return json.dumps(value).encode()

        for path in self.render.web.files:
            self.render.web.files[path] = answer

    def refused(self, work: Any) -> None:
        """Ask in vain."""
        error = self.failureResultOf(self.finish(work), InferenceError).value
        self.assertEqual(500, error.status)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_rendered(self) -> None:
        """A list has one prompt's tokens, and an object has them itself."""
        question = self.routes.text("Hello", special=False)
        for good in ([{"token_ids": [1, 2]}, {"token_ids": [3]}], {"token_ids": [1, 2]}):
            self.answer_with(good)
            self.assertEqual(Rendered([1, 2]), self.result(self.routes.render(question)))
        nonsense: list[Any] = [[], None, 1, [None], {}, *({"token_ids": ids} for ids in (None, ["1"], [True]))]
        for value in nonsense:
            self.answer_with(value)
            self.refused(self.routes.render(question))
        for number in (-1, 1 << 32, 1.5):
            self.answer_with({"token_ids": [number]})
            self.refused(self.routes.render(question))

    def test_media(self) -> None:
        """Media that have a hash and tokens of their own are told with their places; others are left out."""
        question = self.routes.text("Hello", special=False)

        def media(hashes: Any, places: Any) -> Any:
            self.answer_with({"token_ids": [5] * 10, "features": {"mm_hashes": hashes, "mm_placeholders": places}})
            return self.result(self.routes.render(question)).media

        place = {"offset": 2, "length": 3}
        later = {"offset": 5, "length": 5}
        found = (Span("b", 2, 3, "audio"), Span("a", 5, 5, "image"))
        self.assertEqual(found, media({"image": ["a"], "audio": ["b", "c"]}, {"image": [later], "audio": [place]}))
        nonsense: list[Any] = [None, [], {"image": None}, {"image": [1]}, {"audio": ["a"]}]
        for hashes in nonsense:
            self.assertEqual((), media(hashes, {"image": [place]}))
        past, before, none = {"offset": 8, "length": 3}, {"offset": -1, "length": 3}, {"offset": 3, "length": 0}
        for wrong in (past, before, none, None, 3, {"offset": 1}, {"offset": True, "length": 1}):
            self.assertEqual((), media({"image": ["a"]}, {"image": [wrong]}))
        self.assertEqual((Span("a", 2, 3),), media({"image": ["a", "b"]}, {"image": [place, place]}))
        none_at_all: list[Any] = [None, [], {}]
        for features in none_at_all:
            self.answer_with({"token_ids": [5], "features": features})
            self.assertEqual(Rendered([5]), self.result(self.routes.render(question)))

    def test_tokenized(self) -> None:
        """Spellings that are not told, or do not fit, are none."""
        question = self.routes.text("Hello", special=False)
        for strings in (None, [], ["a"], ["a", 1], "ab"):
            self.answer_with({"tokens": [1, 2], "token_strs": strings})
            self.assertEqual(([1, 2], None), self.result(self.routes.tokenize(question)))
        self.answer_with({"tokens": "12"})
        self.refused(self.routes.tokenize(question))

    def test_texts(self) -> None:
        """A text is text, and what is told of the tokenizer an object."""
        self.answer_with({"prompt": 1})
        self.refused(self.routes.detokenize((1,)))
        self.answer_with([])
        self.refused(self.routes.describe())

    def test_host(self) -> None:
        """All routes are under the service's address."""
        self.assertTrue(all(path.startswith(HOST) for path in self.render.web.files))
