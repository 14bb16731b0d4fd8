# -*- test-case-name: tests.structured.test_documents -*-
"""What ``$ref`` refers to, inside one document.

A reference is a JSON pointer (``#/$defs/city``), an anchor (``#city``), or the address of a part that names itself
with ``$id``, each relative to the nearest address above it.
"""

from typing import Final
from urllib.parse import unquote, urldefrag, urljoin

from vllmsim.structured.values import JsonValue, Refusal, Schema

REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS: Final = ("$anchor", "$dynamicAnchor")


class References:
    """Finds what the references of a document refer to.

    :param root: the whole document.
    :param identifier: the keyword that gives a part its address: ``$id``, in draft 4 ``id``.
    """

    def __init__(self, root: Schema, identifier: str) -> None:
        self._resources: dict[str, JsonValue] = {"": root}
        self._anchors: dict[str, JsonValue] = {}
        self._bases: dict[int, str] = {}
        self._targets: dict[tuple[int, str], Schema] = {}
        pending: list[tuple[JsonValue, str]] = [(root, "")]
        while pending:
            node, base = pending.pop()
            if isinstance(node, dict):
                base = self._note(node, base, node.get(identifier))
                pending += [(member, base) for member in node.values() if isinstance(member, dict | list)]
            elif isinstance(node, list):
                pending += [(member, base) for member in node if isinstance(member, dict | list)]

    def target(self, schema: dict[str, JsonValue], keyword: str) -> Schema:
        """Find what a schema refers to.

        :param keyword: one of :data:`REFERENCES`, which the schema has.
        :raises Refusal: when it is not in the document, or not a schema.
        """
        key = id(schema), keyword
        found = self._targets.get(key)
        if found is None:
            found = self._targets[key] = self._find(str(schema[keyword]), self._bases.get(id(schema), ""))
        return found

    def _note(self, node: dict[str, JsonValue], base: str, identifier: JsonValue) -> str:
        if isinstance(identifier, str):
            address, fragment = urldefrag(urljoin(base, identifier))
            if fragment and identifier.startswith("#"):
                self._anchors[f"{base}#{fragment}"] = node
            else:
                base = address
                self._resources.setdefault(base, node)
        for keyword in _ANCHORS:
            if isinstance(anchor := node.get(keyword), str):
                self._anchors[f"{base}#{anchor}"] = node
        self._bases[id(node)] = base
        return base

    def _find(self, reference: str, base: str) -> Schema:
        if reference.startswith("#"):
            address, fragment = base, reference[1:]
        else:
            address, fragment = urldefrag(urljoin(base, reference))
        fragment = unquote(fragment)
        found: JsonValue = None
        if fragment and not fragment.startswith("/"):
            found = self._anchors.get(f"{address}#{fragment}")
        elif address in self._resources:
            found = _at(self._resources[address], fragment)
        if isinstance(found, bool | dict):
            return found
        raise Refusal(f"it refers to {reference[:80]}, which is not a schema in it")


def _at(node: JsonValue, pointer: str) -> JsonValue:
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and len(name) < 6 and int(name) < len(node):  # noqa: PLR2004
            node = node[int(name)]
        else:
            return None
    return node
