"""Schemas as clients send them."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.structured.work import MOST_CALLS, counted
from vllmsim.errors import InvalidRequest
from vllmsim.structured.documents import SchemaDocument, check_schema
from vllmsim.structured.values import Budget


def nested(depth: int, keyword: str) -> dict[str, Any]:
    """Make a schema that is nested deep."""
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {keyword: schema}
    return schema


FINE: list[Any] = [
    True,
    False,
    {},
    {"type": "object", "properties": {"a": {"$ref": "#"}}},
    {"items": [{"type": "string"}]},
    {"minimum": 1, "exclusiveMinimum": True},
    {"type": "string", "nullable": True, "x-vendor": {"anything": [1]}},
    {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}, "enum": {"pattern": "a{2}"}}},
    {"const": {"pattern": "((", "$ref": 5}},
    {"pattern": "^[\\p{L}\\p{M} '-]{1,50}$"},
    {"$ref": "https://json-schema.org/draft/2020-12/schema"},
    nested(200, "items"),
]

WRONG: list[tuple[Any, str]] = [
    (None, "neither an object nor a boolean"),
    ([1], "neither an object nor a boolean"),
    ("object", "neither an object nor a boolean"),
    ({"type": "text"}, "(at /type)"),
    ({"properties": {"a": {"minLength": "3"}}}, "(at /properties/a/minLength)"),
    ({"required": True}, "(at /required)"),
    ({"pattern": "("}, "regex"),
    ({"pattern": "(?=a)a{2}"}, "lookaround"),
    ({"pattern": "(?=a)a"}, "regex"),
    ({"$ref": "#/$defs/nowhere"}, "does not exist"),
    ({"$ref": "http://localhost:1/schema"}, "disabled"),
    ({"$ref": "file:///etc/passwd"}, "disabled"),
    ({"$ref": "other.json"}, "other.json"),
    ({"$schema": "http://localhost:1/draft"}, "Unknown meta-schema"),
    ({"$schema": 5}, "5"),
    ({"minimum": float("nan")}, "number that JSON does not have"),
    ({"enum": [1, [float("inf")]]}, "number that JSON does not have"),
    ({"const": "\ud800"}, "surrogates"),
    ({"enum": list(range(20_000))}, "10000 values"),
    ({"properties": {f"p{i}": {"$ref": "#/$defs/a"} for i in range(2000)}, "$defs": {"a": {}}}, "1500 references"),
    ({"pattern": "a{1000000}"}, "patterns are too large"),
    ({"patternProperties": {"((a{100}){100}){100}": True}}, "patterns are too large"),
    ({"properties": {f"p{i}": {"pattern": f"\\p{{L}}{{20}}{i}"} for i in range(50)}}, "patterns are too large"),
    ({"properties": {"const": {"pattern": "\\w{100000}"}}}, "patterns are too large"),
    ({"pattern": "\\p{L}" * 2000}, "8192 characters"),
    ({"pattern": "x" * 9000}, "8192 characters"),
    ({"pattern": "\\s" * 600}, "patterns are too large"),
    ({"pattern": "." * 8000}, "patterns are too large"),
    (nested(600, "items"), "ecursion limit"),
    (nested(600, "not"), "ecursion limit"),
    (nested(600, "allOf"), ""),
]


class CheckTests(SynchronousTestCase):
    """Which schemas are refused."""

    def test_fine(self) -> None:
        """Schemas of every draft are taken, and keywords that mean nothing are passed over."""
        for schema in FINE:
            check_schema(schema)

    def test_wrong(self) -> None:
        """What is no schema, points outside or is too large is refused in one line, and nothing is fetched."""
        for schema, reason in WRONG:
            with counted() as work:
                error = self.assertRaises(InvalidRequest, check_schema, schema)
            self.assertLess(work.calls, MOST_CALLS, reason)
            self.assertIn(reason, error.message)
            self.assertTrue(error.message.startswith("The JSON schema is not valid: "), error.message)
            self.assertNotIn("\n", error.message)
            self.assertLess(len(error.message), 500)

    def test_old_drafts(self) -> None:
        """A draft that is named is followed, also where others are more lenient."""
        self.assertRaises(
            InvalidRequest,
            check_schema,
            {"$schema": "http://json-schema.org/draft-07/schema#", "minimum": 1, "exclusiveMinimum": True},
        )
        self.assertTrue(SchemaDocument({"$schema": "http://json-schema.org/draft-04/schema#"}).old)
        self.assertTrue(SchemaDocument({"items": [{"type": "string"}]}).old)
        self.assertFalse(SchemaDocument({"items": {"type": "string"}}).old)


class PartTests(SynchronousTestCase):
    """What can be asked of a document."""

    def test_parts(self) -> None:
        """A value is validated against any part, with the references and the draft of the whole."""
        parts: dict[str, Any] = {
            "a b/c~d": {"oneOf": [{"$ref": "#/$defs/x"}, {"type": "string"}]},
            "x": {"type": "integer"},
        }
        for head in ({}, {"$id": "https://example.org/whole"}, {"$schema": "http://json-schema.org/draft-07/schema#"}):
            document = SchemaDocument({**head, "$defs": parts, "type": "object"})
            for value, accepted in ((3, True), ("a", True), (3.5, False), ({}, False)):
                for _ in range(2):
                    self.assertEqual(accepted, document.accepts(parts["a b/c~d"], value, Budget(1000)))
            self.assertTrue(document.accepts({"type": "null"}, 3, Budget(1000)))
            self.assertFalse(document.accepts(False, 3, Budget(1000)))

    def test_matches(self) -> None:
        """A pattern is found anywhere in a text, and not looked for without end in one that nearly matches."""
        document = SchemaDocument(True)
        self.assertTrue(document.matches("b+", "abbc"))
        self.assertFalse(document.matches("^b+", "abbc"))
        with counted() as work:
            self.assertFalse(document.matches("^(a+)+$", "a" * 5000 + "b"))
        self.assertLess(work.calls, MOST_CALLS)


class ReferenceTests(SynchronousTestCase):
    """What references refer to."""

    def targets(self, schema: dict[str, Any]) -> list[Any]:
        """Find what the properties refer to."""
        document = SchemaDocument(schema)
        return [document.references.target(part, next(iter(part))) for part in schema["properties"].values()]

    def test_pointers(self) -> None:
        """A pointer goes through objects and arrays, with its escapes."""
        references = ["#", "#/$defs/a~1b", "#/$defs/c%20d", "#/$defs/e~0f", "#/$defs/list/anyOf/1", "#/properties/p0"]
        schema = {
            "properties": {f"p{i}": {"$ref": reference} for i, reference in enumerate(references)},
            "$defs": {
                "a/b": {"title": "1"},
                "c d": {"title": "2"},
                "e~f": {"title": "3"},
                "list": {"anyOf": [True, False]},
            },
        }
        found = self.targets(schema)
        self.assertIs(schema, found[0])
        self.assertEqual([{"title": "1"}, {"title": "2"}, {"title": "3"}, False, {"$ref": "#"}], found[1:])

    def test_anchors(self) -> None:
        """Anchors and parts with an address of their own are found by it, relative to where they are named."""
        schema = {
            "$id": "https://example.org/root.json",
            "properties": {
                "a": {"$ref": "#here"},
                "b": {"$ref": "part.json"},
                "c": {"$ref": "https://example.org/part.json#inner"},
                "d": {"$ref": "part.json#/$defs/deep"},
                "e": {"$dynamicRef": "#moving"},
                "f": {"$ref": "https://example.org/root.json#/$defs/x"},
            },
            "$defs": {
                "x": {"$anchor": "here", "title": "x"},
                "y": {"$id": "part.json", "title": "y", "$defs": {"deep": {"$anchor": "inner", "title": "deep"}}},
                "z": {"$dynamicAnchor": "moving", "title": "z"},
            },
        }
        self.assertEqual(["x", "y", "deep", "deep", "z", "x"], [part["title"] for part in self.targets(schema)])

    def test_old_addresses(self) -> None:
        """In draft 7 an address may be an anchor, and in draft 4 it is called id."""
        for keyword, draft in (("$id", "draft-07"), ("id", "draft-04")):
            schema = {
                "$schema": f"http://json-schema.org/{draft}/schema#",
                "properties": {"a": {"$ref": "#here"}},
                "definitions": {"x": {keyword: "#here", "title": "x"}},
            }
            self.assertEqual([{keyword: "#here", "title": "x"}], self.targets(schema))
