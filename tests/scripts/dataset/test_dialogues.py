"""What is asked and answered in a record."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Conversation, TextPrompt
from vllmsim.scripts.dataset.dialogues import Exchange, Form, Records, Skipped, exchanges
from vllmsim.scripts.dataset.faults import BadItem


def turns(*said: str) -> list[dict[str, str]]:
    """Write turns of ShareGPT, each as ``speaker: text``."""
    return [dict(zip(("from", "value"), each.split(": ", 1), strict=True)) for each in said]


def messages(*said: str) -> list[dict[str, Any]]:
    """Write messages, each as ``role: text``."""
    return [dict(zip(("role", "content"), each.split(": ", 1), strict=True)) for each in said]


def read(value: Any, records: Records = "both", *, form: Form | None = None, asked: bool = False) -> list[Any]:
    """List prompts with their answers; conversations as ``role: text`` in a list; and why something is skipped."""
    result: list[Any] = []
    for each in exchanges(value, form, records, asked=asked):
        if isinstance(each, Skipped):
            result.append(each.reason)
        elif isinstance(each.prompt, TextPrompt):
            assert each.body == {"prompt": each.prompt.text}
            result.append((each.prompt.text, each.answer))
        else:
            result.append(([f"{m.role}: {m.text}" for m in each.prompt.messages], each.answer))
    return result


class ShareGptTests(SynchronousTestCase):
    """Conversations as ShareGPT has them."""

    def test_pairs(self) -> None:
        """Each pair makes two records: one for the question alone, and one for the conversation so far."""
        value = {"id": "a", "conversations": turns("human: q1", "gpt: a1", "user: q2", "assistant: a2")}
        two = ["user: q1", "assistant: a1", "user: q2"]
        self.assertEqual([("q1", "a1"), (["user: q1"], "a1"), ("q2", "a2"), (two, "a2")], read(value))
        self.assertEqual([("q1", "a1"), ("q2", "a2")], read(value, "completions"))
        self.assertEqual([(["user: q1"], "a1"), (two, "a2")], read(value, "chat"))

    def test_order(self) -> None:
        """Reading ends at the first turn that is out of turn; a system turn may be the first."""
        first = [("q1", "a1"), (["user: q1"], "a1")]
        for rest in (("gpt: a2", "human: q2"), ("human: q2", "human: q3", "gpt: a3"), ("bing: x",), ("system: x",)):
            self.assertEqual(first, read({"conversations": turns("human: q1", "gpt: a1", *rest)}))
        value = {"conversations": turns("system: s", "human: q1", "gpt: a1")}
        self.assertEqual([("q1", "a1"), (["system: s", "user: q1"], "a1")], read(value))

    def test_nothing(self) -> None:
        """A conversation without a pair is skipped, with a reason."""
        beginning, answer = "a conversation without a question at its beginning", "a conversation without an answer"
        self.assertEqual([beginning], read({"conversations": turns("gpt: a1", "human: q1")}))
        self.assertEqual([beginning], read({"conversations": []}))
        self.assertEqual([answer], read({"conversations": turns("human: q1")}))
        self.assertEqual([answer], read({"conversations": turns("system: s")}))
        self.assertEqual(["an empty answer"], read({"conversations": turns("human: q1", "gpt: ")}))
        empty = ["an empty question", (["user: "], "a1")]
        self.assertEqual(empty, read({"conversations": turns("human: ", "gpt: a1")}))

    def test_bad(self) -> None:
        """Turns that have no speaker or no text make a record bad."""
        for conversations, reason in (
            ("x", "its conversations are no list"),
            (["x"], "a turn has no speaker in its member from"),
            ([{"value": "x"}], "a turn has no speaker in its member from"),
            ([{"from": "human"}], "a turn has no text in its member value"),
            ([{"from": "human", "value": None}], "a turn has no text in its member value"),
        ):
            error = self.assertRaises(BadItem, read, {"conversations": conversations})
            self.assertEqual(reason, error.reason)


class MessageTests(SynchronousTestCase):
    """Messages as OpenAI has them."""

    def test_answers(self) -> None:
        """Every assistant's turn answers the conversation so far, whatever its roles; and a question before it."""
        value = {"messages": messages("system: s", "user: q1", "assistant: a1", "tool: t", "assistant: a2")}
        before = ["system: s", "user: q1"]
        more = [*before, "assistant: a1", "tool: t"]
        self.assertEqual([("q1", "a1"), (before, "a1"), (more, "a2")], read(value))

    def test_parts(self) -> None:
        """Content may be parts; a question with a picture is no completion's prompt."""
        parts = [{"type": "text", "text": "q1"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
        answer = {"role": "assistant", "content": [{"type": "text", "text": "a1"}]}
        value: dict[str, Any] = {"messages": [{"role": "user", "content": parts}, answer]}
        self.assertEqual([(["user: q1\nimage: http://x/y.png"], "a1")], read(value))
        value["messages"][0]["content"] = parts[:1]
        self.assertEqual([("q1", "a1"), (["user: q1"], "a1")], read(value))

    def test_calls(self) -> None:
        """An answer that calls a tool is part of the conversation, and no record."""
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        value = {
            "messages": [
                {"role": "user", "content": "q1"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "t"},
                {"role": "assistant", "content": "a1"},
            ]
        }
        said = ["user: q1", "assistant: [f({})]", "tool: t"]
        self.assertEqual(["an answer that calls tools", (said, "a1")], read(value))

    def test_template(self) -> None:
        """What chat templates know beside messages is kept: for the prompt, and for the server that is asked."""
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        value: dict[str, Any] = {
            "messages": messages("user: q1", "assistant: a1"),
            "tools": [tool],
            "chat_template_kwargs": {"x": 1},
            "parallel_tool_calls": False,
        }
        chat = next(exchanges(value, None, "chat", asked=True))
        assert isinstance(chat, Exchange)
        assert isinstance(chat.prompt, Conversation)
        template = chat.prompt.template
        self.assertEqual(({"x": 1}, "f"), (template.arguments, (template.tools or ())[0]["function"]["name"]))
        self.assertEqual(
            {"messages": value["messages"][:1], "tools": [tool], "chat_template_kwargs": {"x": 1}}, chat.body
        )

    def test_nothing(self) -> None:
        """What answers nothing, or is not answered, is skipped with a reason."""
        first = "an answer that nothing comes before"
        self.assertEqual(
            [first, ("q", "a"), (["assistant: x", "user: q"], "a")],
            read({"messages": messages("assistant: x", "user: q", "assistant: a")}),
        )
        self.assertEqual(["a conversation without an answer"], read({"messages": messages("user: q")}))
        self.assertEqual(["a conversation without a question at its beginning"], read({"messages": []}))

    def test_bad(self) -> None:
        """Messages that a server would refuse make a record bad, in a line that says why."""
        self.assertEqual("its messages are no list", self.assertRaises(BadItem, read, {"messages": "x"}).reason)
        reason = self.assertRaises(BadItem, read, {"messages": [{"content": "x"}]}).reason
        self.assertIn("body.messages.0.role", reason)
        self.assertNotIn("\n", reason)
        reason = self.assertRaises(BadItem, read, {"messages": [{"role": "user", "content": 5}] * 1000}).reason
        self.assertLess(len(reason), 310)

    def test_surrogates(self) -> None:
        """Half of a surrogate pair becomes what it becomes in a request."""
        self.assertEqual(
            [("q\ufffd", "a\ufffd")], read({"messages": messages("user: q\ud800", "assistant: a\ud800")}, "completions")
        )

    def test_deep(self) -> None:
        """A record that is deeper than any request may be is bad."""
        for depth in (500, 5000):
            nested: list[Any] = []
            for _ in range(depth):
                nested = [nested]
            value = {"messages": [{"role": "user", "content": "q\ud800", "more": nested}]}
            self.assertIn("cannot be read", self.assertRaises(BadItem, read, value).reason)


class CompletionTests(SynchronousTestCase):
    """Prompts and completions."""

    def test_pair(self) -> None:
        """A prompt and its completion are a conversation of one pair; both may be lists of messages."""
        expected = [("q", "a"), (["user: q"], "a")]
        self.assertEqual(expected, read({"prompt": "q", "completion": "a"}))
        self.assertEqual(expected, read({"prompt": messages("user: q"), "completion": messages("assistant: a")}))

    def test_bad(self) -> None:
        """Anything else is bad."""
        self.assertEqual(["a conversation without an answer"], read({"prompt": "q"}))
        for value in ({"prompt": 5, "completion": "a"}, {"prompt": "q", "completion": 5}, {"prompt": None}):
            self.assertIn("is neither text nor a list of messages", self.assertRaises(BadItem, read, value).reason)


class FormTests(SynchronousTestCase):
    """Which form a record has."""

    def test_unknown(self) -> None:
        """A record that has no known member, or another form than is wanted, is bad."""
        self.assertEqual("it is no JSON object", self.assertRaises(BadItem, read, [1]).reason)
        reason = self.assertRaises(BadItem, read, {"text": "x"}).reason
        self.assertEqual("it has none of the members conversations, messages, prompt", reason)
        reason = self.assertRaises(BadItem, read, {"prompt": "q"}, form="sharegpt").reason
        self.assertEqual("it has the form completions, and not sharegpt", reason)
        self.assertEqual(2, len(read({"prompt": "q", "completion": "a"}, form="completions")))


class AskedTests(SynchronousTestCase):
    """Prompts for a server."""

    def test_questions(self) -> None:
        """All that the input answers is asked, and its last question too; what it answers is forgotten."""
        value = {"messages": messages("user: q1", "assistant: a1", "user: q2")}
        two = ["user: q1", "assistant: a1", "user: q2"]
        self.assertEqual([("q1", None), (["user: q1"], None), ("q2", None), (two, None)], read(value, asked=True))
        self.assertEqual([("q", None), (["user: q"], None)], read({"prompt": "q"}, asked=True))
        self.assertEqual(
            [(["user: q", "tool: t"], None)], read({"messages": messages("user: q", "tool: t")}, asked=True)
        )
        nothing = ["a conversation without an answer"]
        self.assertEqual(nothing, read({"messages": messages("system: s")}, asked=True))
