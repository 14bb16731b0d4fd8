"""Tools in requests."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.toolcalls import ToolChoice, Tooling, check_tools, read_choice, use_tools
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Part
from vllmsim.structure import Tool, ToolUse

TOOLS = [{"type": "function", "function": {"name": "f"}}, "x", {"function": 1}, {"function": {"name": ["f"]}}]
F, G = Tool("f", {"type": "object"}), Tool("g", {})


class CheckTests(SynchronousTestCase):
    """What choices are possible."""

    def test_fine(self) -> None:
        """Choices that name a tool that is there, or none, are accepted in each form that clients have."""
        choices: tuple[Any, ...] = (
            None,
            "none",
            "auto",
            "required",
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "name": "f"},
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOLS[0]]}},
        )
        for choice in choices:
            check_tools({"tools": TOOLS, "tool_choice": choice})
        check_tools({"tools": TOOLS})
        check_tools({"tool_choice": "none"})

    def test_wrong(self) -> None:
        """Choices that cannot be are refused, whatever types they have."""
        choices: tuple[Any, ...] = (
            "maybe",
            7,
            ["f"],
            {"type": "function"},
            {"type": "function", "function": {"name": ["f"]}},
            {"type": "function", "function": {"name": "h"}},
            {"type": "something", "name": "f"},
            {"type": "allowed_tools"},
            {"type": "allowed_tools", "allowed_tools": {"mode": "never", "tools": [TOOLS[0]]}},
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"name": "h"}]}},
        )
        for choice in choices:
            error = self.assertRaises(InvalidParameter, check_tools, {"tools": TOOLS, "tool_choice": choice})
            self.assertEqual("tool_choice", error.param)
        self.assertRaises(InvalidParameter, check_tools, {"tools": [], "tool_choice": "none"})
        self.assertRaises(InvalidParameter, check_tools, {"tools": "x", "tool_choice": {"type": "function"}})
        self.assertRaises(InvalidParameter, check_tools, {"tool_choice": "auto"})


class UseTests(SynchronousTestCase):
    """Which tools an answer may call."""

    def use(self, choice: Any, *tools: Tool, **more: Any) -> ToolUse | None:
        """Decide for two tools, or others."""
        return use_tools(tools or (F, G), read_choice(choice), more.pop("tooling", Tooling()), **more)

    def bounds(self, choice: Any, **more: Any) -> tuple[Any, ...] | None:
        """Say which tools, and how few and many calls."""
        use = self.use(choice, **more)
        return None if use is None else ([tool.name for tool in use.tools], use.least, use.most, use.named)

    def test_choices(self) -> None:
        """None forbids, auto allows, required demands, and a name demands that one tool once."""
        self.assertIsNone(self.bounds("none"))
        self.assertEqual((["f", "g"], 0, 2, False), self.bounds(None))
        self.assertEqual((["f", "g"], 0, 2, False), self.bounds("auto"))
        self.assertEqual((["f", "g"], 1, 2, False), self.bounds("required"))
        self.assertEqual((["g"], 1, 1, True), self.bounds({"type": "function", "function": {"name": "g"}}))

    def test_allowed(self) -> None:
        """Only the allowed tools may be called, in both spellings of the choice."""
        inner = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
        self.assertEqual((["g"], 1, 1, False), self.bounds({"type": "allowed_tools", "allowed_tools": inner}))
        flat = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}
        self.assertEqual((["f"], 0, 1, False), self.bounds(flat))

    def test_one_at_a_time(self) -> None:
        """Without parallel calls there is one at most."""
        self.assertEqual((["f", "g"], 1, 1, False), self.bounds("required", parallel=False))

    def test_answered(self) -> None:
        """After the result of a call a model that may choose answers in text; one that must call calls."""
        self.assertIsNone(self.bounds("auto", answered=True))
        self.assertEqual((["f", "g"], 1, 2, False), self.bounds("required", answered=True))

    def test_no_parser(self) -> None:
        """A server without a parser refuses in vLLM's words; a named tool needs none."""
        bare = Tooling(parser="", automatic=False)
        error = self.assertRaises(InvalidRequest, self.use, "auto", tooling=bare)
        self.assertIn("--enable-auto-tool-choice", error.message)
        error = self.assertRaises(InvalidRequest, self.use, "required", tooling=bare)
        self.assertEqual('tool_choice="required" requires --tool-call-parser to be set', error.message)
        self.assertIsNotNone(self.bounds({"type": "function", "name": "f"}, tooling=bare))
        self.assertIsNone(self.bounds("none", tooling=bare))

    def test_definitions(self) -> None:
        """Parameters that are no schema are refused, also where nothing may be called, unless that is switched off."""
        bad = Tool("f", {"type": "nothing"})
        error = self.assertRaises(InvalidRequest, self.use, "none", bad)
        self.assertIn("Tool validation failed: f: ", error.message)
        self.assertNotIn("\n", error.message)
        self.assertIsNotNone(self.use("auto", bad, tooling=Tooling(validates=False)))

    def test_heavy(self) -> None:
        """Definitions whose patterns take long together are refused, though each for itself would do."""
        tools = [Tool(f"f{number}", {"pattern": f"\\p{{L}}{{30}}{number}"}) for number in range(8)]
        self.assertIsNotNone(self.use("auto", *tools[:4]))
        error = self.assertRaises(InvalidRequest, self.use, "auto", *tools)
        self.assertEqual("Tool validation failed: the patterns of all tools together are too large", error.message)

    def test_unknown(self) -> None:
        """A choice of a tool that is not there is refused."""
        self.assertRaises(InvalidParameter, use_tools, [F], ToolChoice("required", "h"), Tooling())

    def test_ids(self) -> None:
        """Calls have vLLM's ids, and those of a parser that has its own."""
        part = Part("call", 0, 1, 2, 3, 4, "f")
        self.assertEqual("chatcmpl-tool-x", Tooling().call_id(part, 0, lambda: "x"))
        self.assertEqual("functions.f:3", Tooling("kimi_k2").call_id(part, 3, lambda: "x"))
