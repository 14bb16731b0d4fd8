"""Token ids, read as a client would see them."""

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.api.scaleout.vocabulary import Vocabulary
from tests.fakes import FixedSource, in_thread
from vllmsim.api.scaleout.given import GivenEntry, GivenLogprob, GivenLogprobs
from vllmsim.api.scaleout.reading import Words
from vllmsim.composing.composer import Composer, Habits
from vllmsim.inference import Answer, Extent, Part, TextPrompt, TokenizedPrompt
from vllmsim.sampling import Sampling
from vllmsim.scheduling.answer import settle
from vllmsim.structure import Form, Tool, ToolUse
from vllmsim.structured.values import Ranges

CALL = ("<tool_call>", "f", "{", "}", "</tool_call>")


class ReadingTests(SynchronousTestCase):
    """What ids are parts of."""

    def setUp(self) -> None:
        """Have a vocabulary."""
        self.vocabulary = Vocabulary()

    def read(
        self, *texts: str, eos: bool = False, reasons: bool = True, tools: tuple[str, ...] | None = ("f",)
    ) -> Answer:
        """Read an answer."""
        ids = self.vocabulary.ids(*texts) + ([self.vocabulary.eos] if eos else [])
        return self.vocabulary.words.answer(ids, reasons=reasons, tools=tools)

    def test_text(self) -> None:
        """Tokens are text; the one that ends it all has none, nor have those that mean nothing."""
        answer = self.read("a ", "b", eos=True)
        self.assertEqual(("a b", ()), (answer.text, answer.parts))
        self.assertEqual("", self.vocabulary.words.answer([5, 2**40]).text)

    def test_parts(self) -> None:
        """Reasoning, text and calls are told apart by their tags, which are no part of what they say."""
        answer = self.read("<think>", "x", "y", "</think>", "t", *CALL, "u", eos=True)
        self.assertEqual(["reasoning", "text", "call", "text"], [part.kind for part in answer.parts])
        self.assertEqual(("xy", "tu"), (answer.reasoning, answer.text))
        [call] = answer.calls
        self.assertEqual(("f", "{}"), (call.name, answer.said(call)))
        ends = [0, *(part.stop for part in answer.parts)]
        self.assertEqual([part.start for part in answer.parts], ends[:-1])
        self.assertEqual(len(answer), ends[-1])

    def test_no_text(self) -> None:
        """Nothing but reasoning or calls leaves no text, even with an ending token behind it."""
        for eos in (False, True):
            self.assertEqual(["call"], [part.kind for part in self.read(*CALL, eos=eos).parts])

    def test_tags_that_mean_nothing(self) -> None:
        """Tags are text where they are not looked for."""
        answer = self.read("<think>", "x", "</think>", *CALL, reasons=False, tools=None)
        self.assertEqual("<think>x</think><tool_call>f{}</tool_call>", answer.text)
        self.assertEqual((), answer.parts)

    def test_cut(self) -> None:
        """What the limit cut off is read as far as it goes."""
        self.assertEqual("x", self.read("<think>", "x").reasoning)
        self.assertEqual("", self.read("<think>").reasoning)
        self.assertEqual((), self.read("<tool_call>").calls)
        [call] = self.read("<tool_call>", "f").calls
        self.assertEqual("f", call.name)
        [call] = self.read("<tool_call>", "f", "{").calls
        self.assertEqual(Part("call", 0, 1, 2, 3, 3, "f"), call)

    def test_the_composer_again(self) -> None:
        """What the composer made is read as it was meant."""
        source = FixedSource(["one ", "two "])
        composer = Composer(source, source, self.vocabulary.tokenizer, in_thread, Habits(Ranges(), 0.0, 0.5))
        tool = Tool("f", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
        prompt = TokenizedPrompt(TextPrompt("x"), "x", [1], ["x"])
        for form in (Form(thinks=True), Form(tools=ToolUse((tool,), 1, 1), thinks=True), Form()):
            for limit in (4, 7, 100):
                composed = composer.compose(prompt, "m", form, Extent(0, limit, explicit=False), random.Random(1))
                made = self.successResultOf(composed)
                meant = settle(made, limit, Sampling(), self.vocabulary.eos, "<|im_end|>")
                # The thoughts of a fixed source are numbered by length, not by text.
                ids = [self.vocabulary.ids(text)[0] if text != "<|im_end|>" else 0 for text in meant.texts]
                ids = [token or self.vocabulary.eos for token in ids]
                read = self.vocabulary.words.answer(ids, reasons=True, tools=["f"])
                plain = all(part.kind == "text" for part in meant.parts)
                self.assertEqual(() if plain else meant.parts, read.parts)
                self.assertEqual(list(meant.pieces), list(read.pieces))


class LogprobTests(SynchronousTestCase):
    """Log probabilities that come back."""

    def setUp(self) -> None:
        """Have two tokens and what was more or less likely."""
        self.vocabulary = Vocabulary()
        self.token, other = self.vocabulary.ids("é", "b")
        end = GivenEntry(token_id=self.vocabulary.eos, logprob=-3)
        entry = GivenEntry(token_id=self.token, logprob=-1, top_logprobs=[GivenLogprob(token_id=other, logprob=-2)])
        self.given = GivenLogprobs(content=[entry, end])

    def test_chat(self) -> None:
        """Ids become texts and bytes in the form of chat completions."""
        shown = self.vocabulary.words.chat_logprobs(self.given)
        assert shown is not None
        first, last = shown["content"]
        self.assertEqual(("é", -1, [195, 169]), (first["token"], first["logprob"], first["bytes"]))
        self.assertEqual(["b"], [each["token"] for each in first["top_logprobs"]])
        self.assertEqual(("<|im_end|>", []), (last["token"], last["top_logprobs"]))

    def test_text(self) -> None:
        """Ids become texts and offsets in the form of completions."""
        shown = self.vocabulary.words.text_logprobs(self.given, 5)
        assert shown is not None
        self.assertEqual(([5, 6], ["é", "<|im_end|>"]), (shown["text_offset"], shown["tokens"]))
        self.assertEqual({"é": -1, "b": -2}, shown["top_logprobs"][0])

    def test_ids(self) -> None:
        """A server that shows tokens as ids shows these so."""
        shown = Words(self.vocabulary.tokenizer, as_ids=True).text_logprobs(self.given, 0)
        assert shown is not None
        self.assertEqual(f"token_id:{self.token}", shown["tokens"][0])

    def test_none(self) -> None:
        """What was not given is not shown."""
        for given in (None, GivenLogprobs()):
            self.assertIsNone(self.vocabulary.words.chat_logprobs(given))
            self.assertIsNone(self.vocabulary.words.text_logprobs(given, 0))
