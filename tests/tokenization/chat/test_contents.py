"""How chat templates take content."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.tokenization.chat.contents import content_format
from vllmsim.tokenization.chat.rendering import make_environment


class ContentTests(SynchronousTestCase):
    """Templates that go through the parts of a message take parts."""

    def check(self, expected: str, *templates: str) -> None:
        """Look at templates."""
        environment = make_environment(lambda: 0.0)
        for template in templates:
            self.assertEqual(expected, content_format(environment.parse(template)), template)

    def test_text(self) -> None:
        """One that writes content takes text, whatever else it has loops for."""
        self.check(
            "string",
            "",
            "{{ messages[0].content }}",
            "{% for m in messages %}{{ m['content'] }}{% endfor %}",
            "{% for m in messages %}{% for call in m.tool_calls %}{{ call }}{% endfor %}{{ m.content }}{% endfor %}",
            "{% for t in tools %}{% for c in t.content %}{{ c }}{% endfor %}{% endfor %}",
            "{% for a, b in messages %}{% for c in a.content %}{% endfor %}{% endfor %}",
            "{% for m in messages %}{% for c in m[x] %}{% endfor %}{% endfor %}",
        )

    def test_parts(self) -> None:
        """One with a loop over the content of a message takes parts, however it comes by the message."""
        self.check(
            "openai",
            "{% for m in messages %}{% for c in m['content'] %}{{ c.text }}{% endfor %}{% endfor %}",
            "{% for m in messages[1:] %}{% for c in m.content | reverse %}{{ c.text }}{% endfor %}{% endfor %}",
            "{% set rest = messages[1:] %}{% set more = rest | list %}"
            "{% for m in more %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}",
            "{% set messages = messages | reverse %}"
            "{% for m in messages %}{% for c in m.content %}{% endfor %}{% endfor %}",
            "{% macro say(content) %}{% for c in content %}{{ c.text }}{% endfor %}{% endmacro %}",
            "{% for m in messages %}"
            "{% generation %}{% for c in m.content %}{% endfor %}{% endgeneration %}"
            "{% endfor %}",
        )
