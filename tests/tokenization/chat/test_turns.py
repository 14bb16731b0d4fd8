"""Messages as chat templates take them."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.tokenization.chat.turns import RefusedError, turns_for

PARTS = [
    {"type": "text", "text": "one"},
    "two",
    {"type": "image_url", "image_url": {"url": "x"}},
    {"type": "refusal", "refusal": "three"},
    {"type": "text", "text": None},
    {"type": "future", "future": 1},
    {"video_url": {"url": "y"}},
    {"type": "audio", "input_audio": {"data": "z"}},
    {"type": "thinking", "thinking": "four"},
    7,
]


class TurnTests(SynchronousTestCase):
    """vLLM's rules for messages."""

    def turns(self, *turns: dict[str, Any], parts: bool = False, developers: bool = False) -> list[dict[str, Any]]:
        """Prepare messages."""
        return turns_for(turns, parts=parts, developers=developers)

    def content(self, content: Any, *, parts: bool = False, role: str = "user") -> Any:
        """Prepare the content of one."""
        return self.turns({"role": role, "content": content}, parts=parts)[0]["content"]

    def test_text(self) -> None:
        """Parts that are text are lines; media and what is not known say nothing."""
        self.assertEqual("one\ntwo\nthree\nfour", self.content(PARTS))
        self.assertEqual(("hi", "", ""), (self.content("hi"), self.content(None), self.content([])))

    def test_parts(self) -> None:
        """A template that takes parts gets parts, of media just their kind."""
        said = [{"type": "text", "text": text} for text in ("one", "two", "three", "four")]
        self.assertEqual(
            [*said[:2], {"type": "image"}, said[2], {"type": "video"}, {"type": "audio"}, said[3]],
            self.content(PARTS, parts=True),
        )
        self.assertEqual([{"type": "text", "text": "hi"}], self.content("hi", parts=True))
        self.assertEqual([], self.content(None, parts=True))
        self.assertEqual("hi", self.content([{"type": "new", "text": "hi"}, {"type": "new"}, {"type": []}]))

    def test_tool(self) -> None:
        """What a tool says is one text where it is text alone, and names its call."""
        self.assertEqual("sunny", self.content("sunny", parts=True, role="tool"))
        image = [{"type": "image_url"}]
        self.assertEqual([{"type": "image"}], self.content(image, parts=True, role="tool"))
        (turn,) = self.turns({"role": "tool", "content": "x", "tool_call_id": "c1"})
        self.assertEqual({"role": "tool", "content": "x", "tool_call_id": "c1"}, turn)

    def test_calls(self) -> None:
        """Arguments of calls become objects, empty ones where they are none; the client's message stays as it was."""
        given = ['{"a": 1}', "[1]", "{", "", None, {"b": 2}, "[" * 100_000]
        calls = [{"type": "function", "function": {"name": "f", "arguments": each}} for each in given]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        (turn,) = self.turns(message)
        found = [call["function"]["arguments"] for call in turn["tool_calls"]]
        self.assertEqual([{"a": 1}, {}, {}, {}, {}, {"b": 2}, {}], found)
        self.assertEqual('{"a": 1}', calls[0]["function"]["arguments"])  # type: ignore[index]
        self.assertEqual("", turn["content"])

    def test_long_arguments(self) -> None:
        """Long arguments become the same objects."""
        value = {"a": [1, 2.5, None, True, "é\n"] * 10_000, "b": {"c": -1e30}}
        for text, expected in ((json.dumps(value), value), (json.dumps(value)[:-1], {})):
            calls = [{"type": "function", "function": {"name": "f", "arguments": text}}]
            (turn,) = self.turns({"role": "assistant", "content": None, "tool_calls": calls})
            self.assertEqual(expected, turn["tool_calls"][0]["function"]["arguments"])

    def test_no_calls(self) -> None:
        """An empty list of calls is none."""
        self.assertNotIn("tool_calls", self.turns({"role": "assistant", "content": "x", "tool_calls": []})[0])

    def test_strange_calls(self) -> None:
        """Calls of what is no function are refused."""
        for call in (7, {}, {"type": "custom", "function": {}}, {"function": "f"}):
            with self.assertRaises(RefusedError):
                self.turns({"role": "assistant", "content": "x", "tool_calls": [call]})

    def test_reasoning(self) -> None:
        """Reasoning of the assistant goes under both of its names."""
        for name in ("reasoning", "reasoning_content"):
            (turn,) = self.turns({"role": "assistant", "content": "x", name: "hm"})
            self.assertEqual(("hm", "hm"), (turn["reasoning"], turn["reasoning_content"]))
        self.assertNotIn("reasoning", self.turns({"role": "user", "content": "x", "reasoning": "hm"})[0])

    def test_name(self) -> None:
        """A name is kept if it is text."""
        self.assertEqual("Ada", self.turns({"role": "user", "content": "x", "name": "Ada"})[0]["name"])
        self.assertNotIn("name", self.turns({"role": "user", "content": "x", "name": 7})[0])

    def test_developer(self) -> None:
        """To templates that know no developer he is the system, all of whose words come first."""
        said: list[dict[str, Any]] = [
            {"role": "system", "content": "one"},
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": "two", "tools": [{}]},
        ]
        self.assertEqual(
            [{"role": "system", "content": "one\n\ntwo"}, {"role": "user", "content": "hi"}], self.turns(*said)
        )
        self.assertEqual("one\n\ntwo", self.turns(*said, parts=True)[0]["content"])
        self.assertEqual("developer", self.turns(*said, developers=True)[2]["role"])
        alone = {"role": "developer", "content": "one", "tools": None}
        self.assertEqual([{"role": "system", "content": "one"}], self.turns(alone))
