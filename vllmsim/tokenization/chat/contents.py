# -*- test-case-name: tests.tokenization.chat.test_contents -*-
"""How a chat template takes what messages say: as one text, or as a list of parts.

The answer is vLLM's: parts, if the template has a loop over the content of a message, where a message is what another
loop takes from ``messages`` or from what that was assigned to; or a loop over something that is called ``content``.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from jinja2 import nodes

ContentFormat: TypeAlias = Literal["string", "openai"]


def content_format(template: nodes.Template) -> ContentFormat:
    """Tell how a template takes content."""
    loops = list(template.find_all(nodes.For))
    lists = _stand_for(template, "messages")
    messages = {
        name for loop in loops if _taken_from(loop.iter) in lists for name in _names(loop.target)
    }  # fmt: skip
    for loop in loops:
        if isinstance(loop.iter, nodes.Name) and loop.iter.name == "content":
            return "openai"
        if _taken_from(loop.iter, "content") in messages:
            return "openai"
    return "string"


def _stand_for(template: nodes.Template, name: str) -> set[str]:
    """Find the names to which a variable, or some of its items, are assigned, directly or not."""
    assigned = list(template.find_all(nodes.Assign))
    found, look = {name}, [name]
    while look:
        origin = look.pop()
        for assignment in assigned:
            if _taken_from(assignment.node) == origin:
                new = set(_names(assignment.target)) - found
                found |= new
                look += new
    return found


def _names(target: nodes.Node) -> Iterator[str]:
    if isinstance(target, nodes.Name):
        yield target.name


def _taken_from(node: nodes.Node | None, member: str | None = None) -> str | None:
    """Find the variable that an expression is, through filters, tests and slices.

    :param member: the member of the variable that the expression must be, if it must be one.
    """
    while True:
        if isinstance(node, nodes.Filter | nodes.Test) or (
            isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
        ):
            node = node.node
        elif member is None:
            return node.name if isinstance(node, nodes.Name) else None
        elif isinstance(node, nodes.Getitem | nodes.Getattr) and _member(node) == member:
            node, member = node.node, None
        else:
            return None


def _member(node: nodes.Getitem | nodes.Getattr) -> object:
    """Tell which member of something an expression is, where that can be told."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) else None
