"""Tools in requests."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.toolcalls import check_tools
from vllmsim.errors import InvalidParameter, Unsupported

TOOLS = [{"type": "function", "function": {"name": "f"}}, "x", {"function": 1}]


class CheckTests(SynchronousTestCase):
    """What choices are possible."""

    def test_fine(self) -> None:
        """Tools that need not be called are accepted."""
        choices: tuple[dict[str, Any], ...] = (
            {},
            {"tool_choice": None},
            {"tool_choice": "none"},
            {"tool_choice": "auto"},
        )
        for choice in choices:
            check_tools({"tools": TOOLS, **choice})
        check_tools({"tool_choice": "none"})

    def test_calls_are_not_simulated(self) -> None:
        """A call that must be made is refused, not answered with text."""
        named = {"type": "function", "function": {"name": "f"}}
        for choice in ("required", named, {"type": "function", "name": "f"}, {"type": "allowed_tools"}):
            self.assertRaises(Unsupported, check_tools, {"tools": TOOLS, "tool_choice": choice})

    def test_wrong(self) -> None:
        """Choices that cannot be are refused, whatever types they have."""
        for choice in ("maybe", 7, ["f"], {"type": "function"}, {"type": "function", "function": {"name": ["f"]}}):
            self.assertRaises(InvalidParameter, check_tools, {"tools": TOOLS, "tool_choice": choice})
        self.assertRaises(InvalidParameter, check_tools, {"tools": [], "tool_choice": "none"})
        self.assertRaises(InvalidParameter, check_tools, {"tools": "x", "tool_choice": {"type": "function"}})
