# -*- test-case-name: tests.api.test_toolcalls -*-
"""Tools in requests: which choices of tools are possible at all."""

from collections.abc import Mapping
from typing import Any

from vllmsim.errors import InvalidParameter, Unsupported


def check_tools(data: Mapping[str, Any]) -> None:
    """Check ``tools`` and ``tool_choice`` as vLLM does on the raw body.

    :raises InvalidParameter: when they do not fit together.
    :raises Unsupported: when a tool must be called; an answer in text is all that is simulated.
    """
    tools, choice = data.get("tools"), data.get("tool_choice")
    if isinstance(tools, list) and not tools:
        raise InvalidParameter(
            "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.", "tools"
        )
    if choice is None or choice == "none":
        return
    if not tools:
        raise InvalidParameter("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if isinstance(choice, Mapping):
        _check_named(choice, tools)
    elif choice not in ("auto", "required"):
        raise InvalidParameter(
            f'Invalid value for `tool_choice`: {choice}! Only named tools, "none", "auto" or "required" are supported.',
            "tool_choice",
        )
    if choice != "auto":
        raise Unsupported("Tool calls are not simulated.", "tool_choice")


def _check_named(choice: Mapping[str, Any], tools: Any) -> None:
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
    names = [
        tool["function"].get("name")
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)
    ]
    if choice.get("type") == "function" and name not in names:
        raise InvalidParameter(
            "The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice"
        )
