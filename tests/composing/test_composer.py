"""What answers are made of."""

import json
import random
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import prompt
from tests.fakes import FixedSource, in_thread
from vllmsim.composing.composer import Composer, Habits
from vllmsim.dataset.sentences import SentenceSource
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Composition, Extent
from vllmsim.structure import PLAIN, ChoiceOutput, Form, JsonOutput, RegexOutput, Tool, ToolUse
from vllmsim.structured.values import Ranges
from vllmsim.tokenization.words import WordTokenizer

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Łódź"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
}
TOOLS = (Tool("weather", CITY), Tool("now", {}))


class ComposerTests(SynchronousTestCase):
    """Reasoning, calls, structured outputs and text."""

    def setUp(self) -> None:
        """Have a source of ten words."""
        self.tokenizer = WordTokenizer(in_thread)
        self.source = FixedSource([f"w{i} " for i in range(10)])

    def compose(
        self, form: Form, share: float = 0.0, limit: int = 500, extra: float = 0.0, seed: int = 1, least: int = 0
    ) -> Composition:
        """Compose an answer."""
        composer = Composer(
            self.source, SentenceSource(self.tokenizer), self.tokenizer, in_thread, Habits(Ranges(), extra, share)
        )
        composed: Composition = self.successResultOf(
            composer.compose(prompt([1]), "m", form, Extent(least, limit, explicit=True), random.Random(seed))
        )
        return composed

    def kinds(self, composition: Composition) -> list[tuple[str, int]]:
        """List the parts and how many tokens of their own they have; they follow each other without gaps."""
        ends = [0, *(part.stop for part in composition.parts)]
        self.assertEqual(ends[:-1], [part.start for part in composition.parts])
        self.assertEqual(len(composition.tokens), ends[-1])
        return [(part.kind, part.last - part.first) for part in composition.parts]

    def text(self, composition: Composition, kind: str = "text") -> str:
        """Join what the parts of a kind say; all of it if there are no parts."""
        texts = composition.tokens.texts
        if not composition.parts:
            return "".join(texts)
        return "".join(text for p in composition.parts if p.kind == kind for text in texts[p.first : p.last])

    def test_plain(self) -> None:
        """Text alone is what the source says, without parts."""
        composition = self.compose(PLAIN)
        self.assertEqual((10, ()), (len(composition.tokens), composition.parts))

    def test_call(self) -> None:
        """A call has three tokens beside its arguments, which are JSON of the tool's schema."""
        composition = self.compose(Form(tools=ToolUse(TOOLS[:1], 1, 1)))
        [part] = composition.parts
        self.assertEqual((0, 1, 2), (part.start, part.opens, part.first))
        self.assertEqual(("weather", part.last + 1), (composition.tokens.texts[1], part.stop))
        arguments = json.loads(self.text(composition, "call"))
        self.assertIn(arguments["city"], ("Oslo", "Łódź"))
        self.assertIn(arguments["days"], range(1, 10))

    def test_several_calls(self) -> None:
        """Calls follow each other; a tool without parameters has an empty object as its arguments."""
        compositions = [self.compose(Form(tools=ToolUse(TOOLS, 1, 2)), extra=1.0, seed=seed) for seed in range(20)]
        for composition in compositions:
            self.assertEqual(["call", "call"], [kind for kind, _ in self.kinds(composition)])
        texts = {"".join(c.tokens.texts[p.first : p.last]) for c in compositions for p in c.parts if p.name == "now"}
        self.assertEqual({"{}"}, texts)

    def test_calls_beyond_the_limit(self) -> None:
        """No more calls are made up than the limit lets out, and the last of them may be cut."""
        tools = tuple(Tool(f"f{number}", {}) for number in range(1000))
        composition = self.compose(Form(tools=ToolUse(tools, 1, 1000)), extra=1.0, limit=12)
        self.assertEqual([("call", 2)] * 3, self.kinds(composition))

    def test_no_object(self) -> None:
        """Arguments are an object where the schema leaves it open, and what it says where that is no object."""
        for schema, expected in (
            ({"description": "anything"}, {}),
            ({"anyOf": [{"type": "string"}, {"type": "object"}]}, {}),
            ({"anyOf": [{"const": 5}, {"const": "five"}]}, None),
            ({"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 2}, [1, 1]),
        ):
            arguments = json.loads(self.text(self.compose(Form(tools=ToolUse((Tool("f", schema),), 1, 1))), "call"))
            self.assertIn(arguments, [5, "five"] if expected is None else [expected])

    def test_no_call(self) -> None:
        """Where nothing must be called and chance says no, the answer is the source's text."""
        self.assertEqual("".join(self.source.words), self.text(self.compose(Form(tools=ToolUse(TOOLS, 0, 2)))))

    def test_structured(self) -> None:
        """A structured output is JSON of its schema, a text of its expression, or one of its choices."""
        self.assertIn(json.loads(self.text(self.compose(Form(output=JsonOutput(CITY)))))["city"], ("Oslo", "Łódź"))
        self.assertTrue(
            re.fullmatch("[a-z]{3}-[0-9]+", self.text(self.compose(Form(output=RegexOutput("[a-z]{3}-[0-9]+")))))
        )
        said = {self.text(self.compose(Form(output=ChoiceOutput(("yes", "no"))), seed=seed)) for seed in range(20)}
        self.assertEqual({"yes", "no"}, said)

    def test_large_schema(self) -> None:
        """A schema of many kilobytes is worked on like a small one."""
        schema = {
            "type": "object",
            "properties": {f"p{i}": {"type": "integer"} for i in range(500)},
            "required": ["p7"],
        }
        value = json.loads(self.text(self.compose(Form(output=JsonOutput(schema)), limit=100_000)))
        self.assertIsInstance(value["p7"], int)
        pattern = "|".join(["a{3}"] * 1000)
        self.assertEqual("aaa", self.text(self.compose(Form(output=RegexOutput(pattern)))))

    def test_threads(self) -> None:
        """What may take long, a large schema or one whose values may be nested without end, holds nobody up."""
        put_off: list[Any] = []

        def defer(*work: Any) -> Deferred[Any]:
            put_off.append(work)
            return Deferred()

        composer = Composer(self.source, self.source, self.tokenizer, defer, Habits(Ranges(), 0, 0))
        tree = {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]}
        enumerated = {"enum": [str(number) for number in range(1000)]}
        for output, expected in (
            (JsonOutput({"type": "integer"}), 0),
            (JsonOutput(tree), 1),
            (JsonOutput(enumerated), 1),
            (RegexOutput("a" * 100), 0),
            (RegexOutput("a" * 5000), 1),
        ):
            put_off.clear()
            composing = composer.compose(
                prompt([1]), "m", Form(output=output), Extent(0, 500, explicit=True), random.Random(1)
            )
            composed = Deferred.fromCoroutine(composing)
            self.assertEqual((expected, not expected), (len(put_off), composed.called))

    def test_impossible(self) -> None:
        """What nothing can have the form of is refused, and a schema that cannot be written down."""
        deep: dict[str, Any] = {}
        for _ in range(300):
            deep = {"not": deep}
        composer = Composer(self.source, self.source, self.tokenizer, in_thread, Habits(Ranges(), 0.0, 0.0))
        for form in (
            Form(output=JsonOutput(False)),
            Form(output=JsonOutput(deep)),
            Form(output=JsonOutput({"const": 2**64})),
            Form(output=RegexOutput("(")),
            Form(tools=ToolUse((Tool("f", False),), 1, 1)),
        ):
            refused = composer.compose(prompt([1]), "m", form, Extent(0, 50, explicit=True), random.Random(1))
            self.failureResultOf(refused, InvalidRequest)

    def test_reasoning(self) -> None:
        """Reasoning comes first, between tags, and has its share of the tokens."""
        composition = self.compose(Form(thinks=True), share=0.5)
        self.assertEqual([("reasoning", 10), ("text", 10)], self.kinds(composition))
        self.assertEqual(("<think>", "</think>"), (composition.tokens.texts[0], composition.tokens.texts[11]))
        self.assertEqual([("reasoning", 30), ("text", 10)], self.kinds(self.compose(Form(thinks=True), share=0.75)))

    def test_no_reasoning(self) -> None:
        """A request that does not want it, or has no budget for it, has none."""
        for form in (PLAIN, Form(thinks=True, thinking_budget=0)):
            self.assertEqual((), self.compose(form, share=0.5).parts)

    def test_budget(self) -> None:
        """Reasoning keeps to its budget."""
        form = Form(thinks=True, thinking_budget=3)
        self.assertEqual([("reasoning", 3), ("text", 10)], self.kinds(self.compose(form, share=0.5)))

    def test_limit(self) -> None:
        """Where the answer fills its limit, text and reasoning share it; the limit is reached, not missed."""
        for limit in range(1, 30):
            for share in (0.1, 0.5, 0.9, 1.0):
                composition = self.compose(Form(thinks=True), share=share, limit=limit)
                said = len(composition.tokens)
                self.kinds(composition) if composition.parts else None
                self.assertTrue(
                    said == limit or len(self.text(composition).split()) == 10 or share == 1.0, (limit, share)
                )
        self.assertEqual(
            [("reasoning", 3), ("text", 5)], self.kinds(self.compose(Form(thinks=True), share=0.5, limit=10))
        )

    def test_nothing_but_reasoning(self) -> None:
        """With the whole share, reasoning is all there is to a text; calls still come."""
        self.assertEqual([("reasoning", 10)], self.kinds(self.compose(Form(thinks=True), share=1.0)))
        both = self.compose(Form(tools=ToolUse(TOOLS[1:], 1, 1), thinks=True), share=1.0)
        self.assertEqual(["reasoning", "call"], [kind for kind, _ in self.kinds(both)])

    def test_reasoning_leaves_room(self) -> None:
        """Reasoning before a call or a structured output leaves these room within the limit."""
        for form in (
            Form(tools=ToolUse(TOOLS[:1], 1, 1), thinks=True),
            Form(output=ChoiceOutput(("one two three four",)), thinks=True),
        ):
            for limit in (30, 60, 200):
                self.assertTrue(len(self.compose(form, share=0.9, limit=limit).tokens) < limit)

    def test_reproducible(self) -> None:
        """Equal randomness composes equal answers."""
        form = Form(tools=ToolUse(TOOLS, 1, 2), thinks=True)
        first, second = (self.compose(form, share=0.5, extra=0.5, seed=9) for _ in range(2))
        self.assertEqual((list(first.tokens.ids), first.parts), (list(second.tokens.ids), second.parts))
