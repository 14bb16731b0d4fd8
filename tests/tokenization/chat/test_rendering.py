"""Chat templates in Jinja's language. tests/integration/test_transformers.py compares them with transformers."""

import json
from datetime import UTC, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.tokenization.chat.rendering import Renderer, hurried, make_environment
from vllmsim.tokenization.chat.turns import RefusedError

NOW = 1795339833.0
USER = {"role": "user", "content": "hi"}
LINES = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def render(source: str, *turns: dict[str, Any], form: str = "auto", **arguments: Any) -> str:
    """Render a template."""
    return Renderer(make_environment(lambda: NOW), source, form).render(list(turns or (USER,)), **arguments)


class RenderingTests(SynchronousTestCase):
    """What templates may do."""

    def refused(self, source: str, *turns: dict[str, Any], **arguments: Any) -> str:
        """Render what cannot be."""
        with self.assertRaises(RefusedError) as caught:
            render(source, *turns, **arguments)
        return str(caught.exception)

    def test_lines(self) -> None:
        """Lines that have tags alone leave nothing; loops may be left, and what the model says may be marked."""
        leave = "  {% if m.role == 'x' %}\n    {% break %}\n  {% endif %}\n"
        source = "{% for m in messages %}\n" + leave + "{{ m.role }}\n{% endfor %}"
        self.assertEqual("user\n", render(source, USER, {"role": "x", "content": ""}, USER))
        self.assertEqual("a hi b", render("a {% generation %}{{ messages[0].content }}{% endgeneration %} b"))

    def test_arguments(self) -> None:
        """A template knows tools, documents, whether an answer begins, and what else it is told."""
        source = "{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ bos_token }}{{ nothing }}"
        told = render(source, tools=[{"a": 1}], documents=[{}], begins=False, variables={"bos_token": "<s>"})
        self.assertEqual("[{'a': 1}][{}]False<s>", told)
        self.assertEqual("NoneNoneTrue", render(source))

    def test_json(self) -> None:
        """JSON is written as Python writes it, without escapes for HTML, in the form that the template asks for."""
        value = {"b": "<é>&'", "a": [1, 1.5]}
        for source, options in (
            ("x|tojson", {}),
            ("x|tojson(indent=2)", {"indent": 2}),
            ("x|tojson(ensure_ascii=True, sort_keys=True)", {"ensure_ascii": True, "sort_keys": True}),
            ("x|tojson(separators=(',', ':'))", {"separators": (",", ":")}),
        ):
            expected = json.dumps(value, **{"ensure_ascii": False, **options})  # type: ignore[arg-type]
            self.assertEqual(expected, render(f"{{{{ {source} }}}}", variables={"x": value}))
            token = hurried.set(False)
            self.assertEqual(expected, render(f"{{{{ {source} }}}}", variables={"x": value}))
            hurried.reset(token)

    def test_date(self) -> None:
        """A template may write the day."""
        expected = datetime.fromtimestamp(NOW, UTC).astimezone().strftime("%d %b %Y")
        self.assertEqual(expected, render("{{ strftime_now('%d %b %Y') }}"))

    def test_refusals(self) -> None:
        """What goes wrong in a template is told, never what it is made of."""
        self.assertEqual("no!", self.refused("{{ raise_exception('no!') }}"))
        self.assertIn("'nothing' is undefined", self.refused("{{ nothing.more }}"))
        self.assertIn("unsupported operand", self.refused("{{ 1 + 'x' }}"))
        self.assertIn("TemplateSyntaxError", self.refused("{% for %}"))
        self.assertIn("zero", self.refused("{{ 1 / 0 }}"))
        self.assertIn("recursion", self.refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"))
        self.assertIn("multiple values", self.refused("", variables={"self": 1}))

    def test_sandbox(self) -> None:
        """A template changes nothing and finds no way into Python."""
        self.assertIn("unsafe", self.refused("{{ messages.append(1) }}"))
        for name in ("''.__class__", "dict.__call__", "namespace.__init__", "messages[0].__len__"):
            self.assertIn("unsafe", self.refused(f"{{{{ {name}.x }}}}"))
        self.assertIn("underscore", self.refused("{% set n = namespace(_x=1) %}"))
        self.assertIn("too big", self.refused("{% for i in range(10**6) %}{% endfor %}"))

    def test_helpers(self) -> None:
        """Templates have dictionaries and namespaces."""
        self.assertEqual("{'a': 1}", render("{{ dict(a=1) }}"))
        self.assertEqual("{'a': 0}", render("{{ dict.fromkeys(['a'], 0) }}"))
        self.assertEqual("3", render("{% set n = namespace(x=1, self=0) %}{% set n.x = 3 %}{{ n.x }}"))

    def test_content(self) -> None:
        """Content is text or parts, as the template looks or as is said."""
        parts = "{% for m in messages %}{% for c in m.content %}[{{ c.type }}]{% endfor %}{% endfor %}"
        image = {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "x"}]}
        self.assertEqual("[image][text]", render(parts, image))
        self.assertEqual("user: x\n", render(LINES, image))
        self.assertEqual("user: [{'type': 'text', 'text': 'hi'}]\n", render(LINES, form="openai"))

    def test_reasoning(self) -> None:
        """Reasoning goes by each of its names."""
        turn = {"role": "assistant", "content": "x", "reasoning": "hm"}
        source = "{{ messages[0].reasoning }}{{ messages[0].reasoning_content }}{{ messages[0].thinking }}"
        self.assertEqual("hmhmhm", render(source, turn))

    def test_developer(self) -> None:
        """A template that names the developer hears of him."""
        turn = {"role": "developer", "content": "x"}
        self.assertEqual("system: x\n", render(LINES, turn))
        self.assertEqual("developer: x\n", render(LINES + "{{ '' if 'developer' else '' }}", turn))


class ContinuationTests(SynchronousTestCase):
    """Answers that go on with the last message."""

    def test_ends(self) -> None:
        """The text ends where the last message ends, with its blanks if the template keeps them."""
        self.assertEqual("user: hi\nuser: and ", self.go_on(LINES, "and "))
        trimmed = "{% for m in messages %}{{ m.content | trim }}</s>{% endfor %}"
        self.assertEqual("hi</s>and", self.go_on(trimmed, "and "))

    def test_parts(self) -> None:
        """Of parts, the last that is text goes on."""
        source = "{% for m in messages %}{% for c in m.content %}{{ c.text or '[]' }}{% endfor %}.{% endfor %}"
        image = {"type": "image_url"}
        self.assertEqual("hi.ab", self.go_on(source, ["a", "b", image][:2]))
        self.assertEqual("hi.a", self.go_on(source, ["a"]))
        with self.assertRaises(RefusedError):
            self.go_on(source, [image])

    def test_impossible(self) -> None:
        """Nothing goes on where the template does not show what the last message says."""
        for source in ("{{ messages[0].role }}", "{{ messages[0].content }}", "{{ messages[-1]['content'][:2] }}"):
            with self.assertRaises(RefusedError):
                self.go_on(source, "and")

    def go_on(self, source: str, content: Any) -> str:
        """Render a conversation to be gone on with."""
        return render(source, USER, {"role": "user", "content": content}, begins=False, goes_on=True)
