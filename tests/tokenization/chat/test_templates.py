"""Which chat template a conversation gets, and what it is told."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Conversation, Message, Template
from vllmsim.tokenization.chat.templates import ChatTemplates
from vllmsim.tokenization.chat.turns import RefusedError

TOLD = "{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ x }} {{ bos_token }}"


class TemplatesTests(SynchronousTestCase):
    """The templates of a model."""

    def make(
        self, *, defer_to_thread: Callable[..., Deferred[Any]] = in_thread, given: str | None = None, **options: Any
    ) -> ChatTemplates:
        """Make what renders."""
        templates = options.pop("templates", {"default": TOLD})
        made = ChatTemplates(templates, {"bos_token": "<s>"}, defer_to_thread, given, **options)
        self.addCleanup(made.close)
        return made

    def render(self, templates: ChatTemplates, text: str = "hi", **said: Any) -> str:
        """Render a conversation."""
        conversation = Conversation((Message("user", text),), Template(**said))
        rendered: str = self.successResultOf(Deferred.fromCoroutine(templates.render(conversation)))
        return rendered

    def refused(self, templates: ChatTemplates, **said: Any) -> str:
        """Render what cannot be."""
        conversation = Conversation((Message("user", "hi"),), Template(**said))
        failure = self.failureResultOf(Deferred.fromCoroutine(templates.render(conversation)), InvalidRequest)
        return str(failure.value.message)

    def test_told(self) -> None:
        """A template is told what the request says, and the special tokens."""
        templates = self.make()
        self.assertEqual("None None True  <s>", self.render(templates))
        told = self.render(templates, tools=({"a": 1},), documents=({},), begins=False, arguments={"x": 5})
        self.assertEqual("[{'a': 1}] [{}] False 5 <s>", told)

    def test_defaults(self) -> None:
        """What the operator tells templates holds where the request says nothing else."""
        templates = self.make(arguments={"x": 1, "bos_token": "<b>"})
        self.assertIn(" 1 <b>", self.render(templates))
        self.assertIn(" 1 <b>", self.render(templates, arguments={"x": None}))
        self.assertIn(" 2 ", self.render(templates, arguments={"x": 2}))

    def test_arguments_for_fields(self) -> None:
        """Tools and documents may be among the arguments; the other fields of a request are its own."""
        templates = self.make()
        told = self.render(templates, arguments={"tools": [{"a": 1}], "documents": [{}], "add_generation_prompt": 0})
        self.assertEqual("[{'a': 1}] [{}] True  <s>", told)
        self.assertIn("[{'b': 1}]", self.render(templates, documents=({"b": 1},), arguments={"documents": [{}]}))

    def test_wrong_arguments(self) -> None:
        """Arguments that no template can have are refused."""
        templates = self.make()
        told = "Found unexpected chat template kwargs from request: {'chat_template'}"
        self.assertEqual(told, self.refused(templates, arguments={"chat_template": "x"}))
        self.assertIn("messages", self.refused(templates, arguments={"messages": []}))
        for wrong in (5, "x", ["x"], {"a": 1}):
            self.assertIn("list of objects", self.refused(templates, arguments={"tools": wrong}))

    def test_choice(self) -> None:
        """Of a model's templates there may be one for requests with tools; the operator's is before all."""
        templates = self.make(templates={"default": "d", "tool_use": "t"})
        self.assertEqual(("d", "t"), (self.render(templates), self.render(templates, tools=({},))))
        self.assertEqual("d", templates.default)
        templates = self.make(templates={"default": "d", "tool_use": "t"}, given="g")
        self.assertEqual("g", self.render(templates, tools=({},)))

    def test_none(self) -> None:
        """Where there is no template, the request is told so in vLLM's words."""
        expected = (
            "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template"
            " if the tokenizer does not define one."
        )
        self.assertEqual(expected, self.refused(self.make(templates={})))
        self.assertEqual(expected, self.refused(self.make(templates={"rag": "r"})))

    def test_refusal(self) -> None:
        """What a template raises is what the client is told."""
        source = "{{ raise_exception('Roles must alternate.') }}"
        self.assertEqual("Roles must alternate.", self.refused(self.make(given=source)))

    def test_brought(self) -> None:
        """A request may bring a template, or name one of the model's."""
        templates = self.make(templates={"rag": "r{{ x }}"}, given="g")
        self.assertEqual("5<s>", self.render(templates, source="{{ x }}{{ bos_token }}", arguments={"x": 5}))
        self.assertIsNotNone(templates._foreign._process)
        self.assertEqual("no", self.refused(templates, source="{{ raise_exception('no') }}"))
        named = self.make(templates={"rag": "r{{ x }}"})
        self.assertEqual("r5", self.render(named, source="rag", arguments={"x": 5}))
        self.assertIsNone(named._foreign._process)

    def test_threads(self) -> None:
        """Long conversations are rendered in a thread, as are those with much else to tell; others at once."""
        deferred: list[Any] = []

        def later(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            deferred.append(function)
            return in_thread(function, *arguments)

        templates = self.make(defer_to_thread=later, given="{{ messages[0].content }}{{ tools | tojson }}")
        self.assertEqual("hinull", self.render(templates))
        self.assertEqual(0, len(deferred))
        self.assertEqual("x" * 5000 + "null", self.render(templates, "x" * 5000))
        self.render(templates, tools=({"a": [1] * 5000},))
        self.render(templates, arguments={"x": [{"y" * 5000: None}]})
        self.assertEqual(3, len(deferred))

    def test_check(self) -> None:
        """A template that is none is found before it is needed."""
        self.make().check()
        for wrong in (self.make(templates={"rag": "{% if %}"}), self.make(given="{% if %}")):
            with self.assertRaises(RefusedError):
                wrong.check()

    def test_content_format(self) -> None:
        """The operator may say how templates take content."""
        templates = self.make(given="{{ messages[0].content }}", content_format="openai")
        self.assertEqual("[{'type': 'text', 'text': 'hi'}]", self.render(templates))
