"""Values that satisfy JSON Schemas."""

import json
import random
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.validators import validator_for as python_validator_for
from jsonschema_rs import validator_for
from twisted.trial.unittest import SynchronousTestCase

from tests.structured.strategies import schemas
from tests.structured.work import MOST_CALLS, counted
from vllmsim.errors import InvalidRequest
from vllmsim.structured.formats import WORDS
from vllmsim.structured.schemas import SchemaSampler
from vllmsim.structured.values import JsonValue, Ranges, json_text

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
ALWAYS = Ranges(optional_probability=1, optional_field_probability=1)
NEVER = Ranges(optional_probability=0, optional_field_probability=0)

SATISFIED: list[Any] = [
    True,
    {},
    {"type": "null"},
    {"type": ["string", "null"]},
    {"type": ["integer", "object"], "required": ["a"]},
    {"enum": [1, "a", None, {"b": [1]}]},
    {"const": {"a": [1, 2]}},
    {"enum": [1, 2, 3], "minimum": 3},
    {"type": "string", "enum": [*range(5000), "only"]},
    {"allOf": [{"enum": [1, 2, 3]}, {"enum": [3.0, 4]}]},
    {"enum": [1, 2.0, "a"], "const": 2},
    {"enum": [[1], {"a": 2}, 3], "allOf": [{"const": {"a": 2.0}}]},
    {"enum": list(range(200)), "not": {"minimum": 1}},
    {"allOf": [{"enum": [1, 2]}, {"const": 2}], "type": ["number", "string"]},
    # Numbers.
    {"type": "integer", "minimum": 5, "maximum": 7},
    {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
    {"type": "integer", "minimum": 4.5, "maximum": 5.5},
    {"type": "integer", "minimum": 10**30},
    {"type": "integer", "maximum": -(10**30)},
    {"type": "integer", "multipleOf": 7, "minimum": 1000},
    {"type": "integer", "multipleOf": 0.75, "exclusiveMinimum": 0, "maximum": 4},
    {"type": "integer", "multipleOf": 5000, "maximum": -1},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 0.001},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 5e-324 * 3},
    {"type": "number", "minimum": 0.1, "maximum": 0.1},
    {"type": "number", "minimum": -1.7e308, "maximum": 1.7e308},
    {"type": "number", "minimum": 10**400},
    {"type": "number", "multipleOf": 0.01},
    {"type": "number", "multipleOf": 0.01, "minimum": 0.05, "maximum": 0.05},
    {"type": "number", "multipleOf": 2.5, "minimum": 1001},
    {"allOf": [{"multipleOf": 0.5}, {"multipleOf": 0.75}], "exclusiveMinimum": 0},
    {"type": "number", "minimum": 3.7, "maximum": 3.8},
    {"minimum": 5},
    {"$schema": DRAFT_4, "type": "integer", "minimum": 5, "exclusiveMinimum": True, "maximum": 6},
    {"$schema": DRAFT_4, "type": "number", "maximum": 5, "exclusiveMaximum": True, "minimum": 4.99},
    # Strings.
    {"type": "string", "minLength": 40},
    {"type": "string", "maxLength": 2},
    {"type": "string", "maxLength": 0},
    {"type": "string", "minLength": 3, "maxLength": 3},
    {"minLength": 3.0},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
    {"type": "string", "pattern": "^[a-z]+$", "minLength": 20, "maxLength": 22},
    {"type": "string", "pattern": "b", "minLength": 1},
    {"type": "string", "pattern": "[A-Z]", "minLength": 12, "maxLength": 13},
    {"type": "string", "pattern": "^[A-Z]{2}", "minLength": 12},
    {"type": "string", "pattern": "\\d$", "minLength": 12, "maxLength": 12},
    {"type": "string", "pattern": "end\\B"},
    {"type": "string", "minLength": 16, "allOf": [{"pattern": "[A-Z]"}, {"pattern": "[a-z]"}, {"pattern": "\\d"}]},
    {"allOf": [{"pattern": "^[a-z]+$"}, {"pattern": "^[a-f]{1,2}$"}], "type": "string"},
    {"type": "string", "format": "email", "minLength": 80},
    {"type": "string", "format": "date-time", "minLength": 24},
    {"type": "string", "format": "unheard-of"},
    {"type": "string", "format": "uuid", "pattern": "[abc]+"},
    {"type": "string", "format": "password", "pattern": "^[abc]{9}$"},
    {"allOf": [{"format": "uri"}, {"pattern": "^https:"}], "type": "string"},
    # Arrays.
    {"type": "array", "items": {"type": "boolean"}, "minItems": 7},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 60},
    {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 300},
    {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True},
    {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
    {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}, "minItems": 4},
    {"$schema": DRAFT_7, "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False},
    {"$schema": DRAFT_7, "items": [{"type": "integer"}], "additionalItems": {"type": "null"}, "minItems": 3},
    {"contains": {"const": "x"}, "minContains": 3, "maxContains": 4, "items": {"type": "string"}, "minItems": 6},
    {"type": "array", "contains": {"type": "integer"}, "minContains": 0, "items": {"type": "string"}},
    {"type": "array", "allOf": [{"contains": {"const": 1}}, {"contains": {"const": 2}}]},
    {"type": "array", "allOf": [{"contains": {"minimum": 3}}, {"contains": {"type": "integer"}}], "maxItems": 1},
    # Objects.
    {"type": "object", "required": ["a", "b"]},
    {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "maxProperties": 1},
    {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 3},
    {"type": "object", "properties": {"a": {}}, "minProperties": 30},
    {"type": "object", "properties": {"a": False, "b": {"type": "integer"}}},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
    {"patternProperties": {"^x-[a-z]{3}$": {"type": "integer"}}, "additionalProperties": False, "minProperties": 2},
    {"patternProperties": {"^a": {"minimum": 5}}, "properties": {"ab": {"type": "integer"}}, "required": ["ab"]},
    {"type": "object", "propertyNames": {"pattern": "^[A-Z]{3}$"}, "minProperties": 3},
    {"type": "object", "propertyNames": {"enum": ["a", "b", "c"]}, "minProperties": 3},
    {"properties": {"a": {}, "b": {}, "c": {}}, "dependentRequired": {"a": ["b"], "b": ["c", "d"]}, "required": ["a"]},
    {"properties": {"a": {}, "b": {}, "c": {}}, "dependentRequired": {"a": ["b", "c"]}, "maxProperties": 2},
    {"$schema": DRAFT_7, "properties": {"a": {}}, "required": ["a"], "dependencies": {"a": ["b"]}},
    {
        "$schema": DRAFT_7,
        "required": ["a"],
        "dependencies": {"a": {"properties": {"b": {"type": "null"}}, "required": ["b"]}},
    },
    {"required": ["a"], "dependentSchemas": {"a": {"required": ["b"], "dependentSchemas": {"b": {"required": ["c"]}}}}},
    {"properties": {"a": {}}, "unevaluatedProperties": False, "allOf": [{"properties": {"b": {}}, "required": ["b"]}]},
    # Several at once.
    {"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 4}]},
    {"allOf": [{"type": ["number", "string"]}, {"type": ["integer", "null"]}]},
    {"allOf": [{"type": "integer"}, {"type": ["number", "null"]}]},
    {"allOf": [{"properties": {"a": {"minimum": 5}}}, {"properties": {"a": {"type": "integer"}}, "required": ["a"]}]},
    {"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"anyOf": [False, {"type": "integer"}]},
    {"type": "string", "anyOf": [{"type": "integer"}, {"minLength": 20}]},
    {"oneOf": [{"type": "number"}, {"type": "integer"}]},
    {"type": "array", "minItems": 20, "items": {"oneOf": [{"type": "number"}, {"type": "integer"}]}},
    {"oneOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]},
    {"not": {"type": "string"}},
    {"not": {"type": ["string", "number", "null", "boolean", "object"]}},
    {"type": "integer", "minimum": 0, "maximum": 3, "not": {"enum": [0, 1, 2]}},
    {"type": "object", "properties": {"a": {}, "b": {}}, "not": {"required": ["a", "b"]}},
    {"type": "array", "minItems": 30, "items": {"type": "integer", "not": {"multipleOf": 2}}},
    {"type": "integer", "not": {"maximum": 700}},
    {"type": "array", "items": {"type": "integer"}, "not": {"maxItems": 6}},
    {
        "properties": {"country": {"enum": ["US", "NL"]}},
        "required": ["country"],
        "if": {"properties": {"country": {"const": "US"}}},
        "then": {"properties": {"zip": {"pattern": "^\\d{5}$", "type": "string"}}, "required": ["zip"]},
        "else": {"required": ["code"]},
    },
    {"if": {"type": "integer"}, "then": {"minimum": 500}, "type": "integer"},
    # Drafts in which some of this means nothing.
    {"$schema": DRAFT_7, "items": {"type": "integer"}, "prefixItems": [{"type": "string"}], "minItems": 2},
    {"$schema": DRAFT_7, "type": "array", "contains": {"type": "integer"}, "minContains": 7, "maxItems": 3},
    {"$schema": DRAFT_4, "type": "integer", "const": "x", "if": 5, "contains": "y", "propertyNames": 3},
    {"$schema": DRAFT_7, "type": "object", "dependentRequired": 3, "unevaluatedProperties": "no", "$anchor": 4},
    {"type": "array", "items": {"type": "integer"}, "additionalItems": False, "minItems": 2, "$recursiveRef": "#/no"},
    # References.
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}},
    {"$ref": "#/$defs/a", "minimum": 3000, "$defs": {"a": {"type": "integer"}}},
    {"$schema": DRAFT_7, "$ref": "#/definitions/a", "type": "string", "definitions": {"a": {"type": "integer"}}},
    {"$id": "http://a.example/b", "$ref": "c", "$defs": {"x": {"$id": "c", "type": "integer"}}},
    {"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "integer"}}},
    {"type": "array", "items": {"$ref": "#"}},
    {"type": "integer", "then": {"$ref": "#/$defs/nowhere"}, "$defs": {"a": {"$ref": "#/$defs/nowhere"}}},
    {
        "$ref": "#/$defs/deep",
        "$defs": {
            "deep": {
                "anyOf": [
                    {"type": "array", "prefixItems": [{"$ref": "#/$defs/deep"}], "minItems": 1},
                    {
                        "type": "object",
                        "properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/deep"}, "minItems": 2}},
                        "required": ["list"],
                    },
                    {"allOf": [{"$ref": "#/$defs/never"}, {"type": "array"}]},
                    {"type": "object", "properties": {"a": {"$ref": "#/$defs/deep"}}, "required": ["a"]},
                    {"anyOf": [{"allOf": [False]}, {"anyOf": [{"$ref": "#/$defs/never"}]}], "type": "array"},
                    {"type": "object", "properties": {"a": {"enum": [1, 2]}, "b": True}, "required": ["a"]},
                ]
            },
            "never": {"type": "array", "items": {"$ref": "#/$defs/never"}, "minItems": 1},
        },
    },
    {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefgh"}},
    {"type": "object", "required": ["next"], "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}},
    {"allOf": [{"properties": {"n": {"$ref": "#"}}}, {"properties": {"n": {"$ref": "#"}}}], "type": "object"},
    {
        "$ref": "#/$defs/d0",
        "$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(300)} | {"d300": {"type": "null"}},
    },
    {
        "$ref": "#/$defs/expression",
        "$defs": {
            "expression": {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {name: {"type": "array", "items": {"$ref": "#/$defs/expression"}, "minItems": 2}},
                        "required": [name],
                        "additionalProperties": False,
                    }
                    for name in ("and", "or", "xor")
                ]
                + [
                    {
                        "type": "object",
                        "properties": {"is": {"type": "string"}},
                        "required": ["is"],
                        "additionalProperties": False,
                    }
                ]
            }
        },
    },
]
"""Schemas that some or all values satisfy; the name of a draft where it is not 2020-12."""

UNSATISFIED: list[tuple[Any, str]] = [
    (False, "it allows no value"),
    ({"enum": []}, "none of the values it lists"),
    ({"type": "string", "enum": [1, 2]}, "none of the values it lists"),
    ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "types exclude each other"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "no integer lies between 3 and 2"),
    ({"type": "integer", "minimum": 3, "maximum": 4, "multipleOf": 5}, "no integer"),
    ({"type": "number", "minimum": 3, "exclusiveMaximum": 3}, "no number"),
    ({"type": "number", "minimum": 3.1, "maximum": 3.2, "multipleOf": 5}, "no multiple of 5"),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "no string is as long"),
    ({"type": "string", "minLength": 10**9}, "more than 4096 characters"),
    ({"type": "string", "minLength": 10**30}, "more than 4096 characters"),
    ({"type": "string", "format": "uuid", "maxLength": 4}, "no uuid is as long"),
    ({"type": "string", "pattern": "^a{3}$", "maxLength": 2}, "length"),
    ({"type": "string", "pattern": "^$b"}, "of the text"),
    ({"type": "array", "minItems": 10**9}, "more than 1000 elements"),
    ({"type": "array", "minItems": 3, "maxItems": 2}, "no array is as long"),
    ({"type": "array", "prefixItems": [{}], "items": False, "minItems": 2}, "no array is as long"),
    ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3}, "different elements"),
    ({"type": "array", "items": False, "minItems": 1}, "no array"),
    ({"type": "object", "minProperties": 10**9}, "more than 1000 properties"),
    ({"type": "object", "required": ["a", "b"], "maxProperties": 1}, "more properties than it allows"),
    ({"type": "object", "required": ["a"], "properties": {"a": False}}, "it allows no value"),
    ({"type": "object", "minProperties": 2, "additionalProperties": False, "properties": {"a": {}}}, "no name"),
    ({"type": "array", "minItems": 1000, "items": {"type": "array", "minItems": 1000}}, "too many steps"),
    ({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}, ""),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 2}, ""),
    ({"$ref": "#"}, "too many steps"),
    ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "too many"),
    ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "not a schema in it"),
    ({"not": {}}, "did not satisfy"),
    ({"oneOf": [{"type": "integer"}, {"type": "integer"}]}, "did not satisfy"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1000}, ""),
    ({"type": "array", "contains": {"$ref": "#"}, "minContains": 100}, ""),
    ({"type": "string", "format": "hostname", "minLength": 4000}, "no hostname is as long"),
    (
        {"type": "array", "items": {"type": "string", "format": "email", "minLength": 4000}, "minItems": 1000},
        "",
    ),
    (
        {
            "anyOf": [
                {"allOf": [{}, {}], "type": "object", "unevaluatedProperties": False, "minProperties": 50},
                {"$ref": "#"},
            ]
        },
        "",
    ),
    (
        {
            "type": "array",
            "items": {
                "items": {"multipleOf": 0.01, "minimum": 0.03, "maximum": 0.03},
                "type": "array",
                "minItems": 30,
                "maxItems": 30,
            },
            "uniqueItems": True,
            "minItems": 5,
        },
        "",
    ),
]
"""Schemas that no value satisfies, or none that we make."""


class SatisfiedTests(SynchronousTestCase):
    """Every keyword."""

    def assertSatisfies(self, schema: Any, value: JsonValue) -> None:
        """Check a value with two validators that have nothing in common."""
        value = json.loads(json_text(value))
        self.assertTrue(validator_for(schema, validate_formats=True, offline=True).is_valid(value), (schema, value))
        kind = python_validator_for(schema)
        errors = [error.message for error in kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(value)]
        self.assertEqual([], errors, (schema, value))

    def test_satisfied(self) -> None:
        """A value satisfies its schema, whatever the schema says and whatever the ranges are."""
        for schema in SATISFIED:
            for ranges in (Ranges(), ALWAYS, NEVER, Ranges(-5, -5, -0.5, -0.5, 0, 0)):
                sampler = SchemaSampler(schema, ranges)
                for seed in range(5):
                    self.assertSatisfies(schema, sampler.sample(random.Random(seed)))

    @settings(max_examples=150, deadline=None)
    @given(schemas(), st.sampled_from([Ranges(), ALWAYS, NEVER]), st.integers(0, 2**32))
    def test_composed(self, schema: Any, ranges: Ranges, seed: int) -> None:
        """Whatever a schema is composed of, its values satisfy it."""
        self.assertSatisfies(schema, SchemaSampler(schema, ranges).sample(random.Random(seed)))

    def test_unsatisfied(self) -> None:
        """A schema that no value satisfies is refused after little work, with the reason."""
        for schema, reason in UNSATISFIED:
            sampler = SchemaSampler(schema, Ranges())
            with counted() as work:
                error = self.assertRaises(InvalidRequest, sampler.sample, random.Random(1))
            self.assertLess(work.calls, MOST_CALLS, str(schema)[:80])
            self.assertTrue(error.message.startswith("No value could be made for the JSON schema: "), error.message)
            self.assertIn(reason, error.message, str(schema)[:80])

    def test_history(self) -> None:
        """What is drawn does not depend on what was drawn before: equal generators give equal values, or none."""
        tree = {
            "anyOf": [{"$ref": "#/$defs/b"}, {"type": "object", "required": ["x"], "properties": {"x": {"$ref": "#"}}}]
        }
        schemas: list[Any] = [
            {"type": "string", "pattern": "[à-ž]" * 250},
            {**tree, "$defs": {"b": {"anyOf": [{"$ref": "#"}, {"type": "array", "items": {"$ref": "#/$defs/b"}}]}}},
            {"type": "array", "minItems": 20, "items": {"oneOf": [{"type": "number"}, {"type": "integer"}]}},
        ]
        for schema in schemas:
            used = SchemaSampler(schema, Ranges())
            for seed in range(20):
                self.assertEqual(self.drawn(SchemaSampler(schema, Ranges()), seed), self.drawn(used, seed))

    def drawn(self, sampler: SchemaSampler, seed: int) -> str:
        """Draw a value, or find out why there is none."""
        try:
            return json_text(sampler.sample(random.Random(seed)))
        except InvalidRequest as error:
            return error.message

    def test_exponential(self) -> None:
        """Schemas that double the work at each step are refused before a validator has it."""
        for depth in (25, 200):
            definitions: dict[str, Any] = {
                f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)
            }
            schema = {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{depth}": {}}}
            with counted() as work:
                self.assertRaises(InvalidRequest, SchemaSampler(schema, Ranges()).sample, random.Random(1))
            self.assertLess(work.calls, MOST_CALLS)

    def test_wide(self) -> None:
        """A large schema works as a small one does, as long as what is asked of one value is not too much."""
        tools = {
            f"tool{number}": {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"type": "array", "items": {"type": "string"}}},
                "required": ["a"],
                "dependentSchemas": {"b": {"required": ["c"], "not": {"required": ["d"]}}},
                "patternProperties": {"^x-": {"type": "integer"}},
                "propertyNames": {"maxLength": 9},
            }
            for number in range(80)
        }
        pair = {"prefixItems": [{"$ref": "#/$defs/x"}, True], "contains": {"type": "integer"}, "additionalItems": 5}
        definitions = {"x": {"type": "integer"}, "pair": pair}
        schema = {"type": "object", "properties": {**tools, "p": {"$ref": "#/$defs/pair"}}, "$defs": definitions}
        sampler = SchemaSampler(schema, Ranges())
        for seed in range(20):
            self.assertSatisfies(schema, sampler.sample(random.Random(seed)))
        many = {"type": "array", "minItems": 900, "items": {"oneOf": [{"const": number} for number in range(2000)]}}
        with counted() as work:
            self.assertRaises(InvalidRequest, SchemaSampler(many, Ranges()).sample, random.Random(1))
        self.assertLess(work.calls, MOST_CALLS)


class OpenTests(SynchronousTestCase):
    """What a schema leaves open."""

    def values(self, schema: Any, ranges: Ranges | None = None, count: int = 200) -> list[Any]:
        """Draw some values."""
        sampler = SchemaSampler(schema, ranges or Ranges())
        generator = random.Random(7)
        return [sampler.sample(generator) for _ in range(count)]

    def test_deterministic(self) -> None:
        """Equal generators give equal values, and others others."""
        schema = {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"pattern": "\\w{9}"}},
            "required": ["a"],
        }
        self.assertEqual(self.values(schema), self.values(schema))
        self.assertEqual(200, len({json_text(value) for value in self.values({"type": "string", "pattern": "\\w{9}"})}))

    def test_integers(self) -> None:
        """Integers are in their range, both ends included, and stay integers."""
        drawn = self.values({"type": "integer"}, Ranges(integer_least=-2, integer_most=2))
        self.assertEqual({-2, -1, 0, 1, 2}, set(drawn))
        self.assertEqual({int}, set(map(type, drawn)))

    def test_numbers(self) -> None:
        """Numbers are in their range and have two decimals."""
        drawn = self.values({"type": "number"}, Ranges(number_least=-1.5, number_most=1.5))
        self.assertTrue(all(-1.5 <= value <= 1.5 and value == round(value, 2) for value in drawn))
        self.assertGreater(len(set(drawn)), 50)

    def test_schema_wins(self) -> None:
        """Bounds of the schema replace those of the range, one by one, and move the other when they must."""
        ranges = Ranges(integer_least=0, integer_most=100)
        for bounds, least, most in (
            ({"minimum": 95}, 95, 100),
            ({"maximum": 5}, 0, 5),
            ({"minimum": -5, "maximum": 200}, -5, 200),
            ({"minimum": 1000}, 1000, 1100),
            ({"maximum": -1000}, -1100, -1000),
        ):
            drawn = self.values({"type": "integer", **bounds}, ranges, 2000)
            self.assertEqual((least, most), (min(drawn), max(drawn)))

    def test_array_lengths(self) -> None:
        """Arrays are as long as the range says, or the schema where it says something."""
        items = {"type": "array", "items": {"type": "integer"}}
        ranges = Ranges(array_least=1, array_most=3)
        for lengths, expected in (
            ({}, {1, 2, 3}),
            ({"minItems": 2}, {2, 3, 4}),
            ({"minItems": 0}, {0, 1, 2, 3}),
            ({"maxItems": 2}, {1, 2}),
            ({"maxItems": 5}, {1, 2, 3, 4, 5}),
            ({"maxItems": 0}, {0}),
            ({"minItems": 7}, {7, 8, 9}),
        ):
            self.assertEqual(expected, {len(value) for value in self.values({**items, **lengths}, ranges)})
        self.assertLess(max(len(value) for value in self.values({**items, "maxItems": 10**9}, ranges)), 50)

    def test_probabilities(self) -> None:
        """Optional properties come as often as is said: one figure for arguments, one for the fields of objects."""
        inner = {"type": "object", "properties": {"b": {"type": "null"}}}
        schema = {"type": "object", "properties": {"a": {"type": "null"}, "o": inner}, "required": ["o"]}
        for outer, field in ((0.0, 1.0), (1.0, 0.0), (0.5, 0.5)):
            drawn = self.values(schema, Ranges(optional_probability=outer, optional_field_probability=field), 400)
            self.assertLessEqual(abs(sum("a" in value for value in drawn) - outer * 400), 40)
            self.assertLessEqual(abs(sum("b" in value["o"] for value in drawn) - field * 400), 40)

    def test_order(self) -> None:
        """Properties come in the order in which the schema declares them."""
        schema = {"properties": {"c": {}, "a": {}, "b": {}}, "required": ["b", "z", "a"]}
        self.assertEqual([["c", "a", "b", "z"]], [list(value) for value in self.values(schema, ALWAYS, 1)])

    def test_words(self) -> None:
        """Strings are words, booleans true or false, and every branch of a choice comes up."""
        self.assertEqual(set(WORDS), set(self.values({"type": "string"})))
        self.assertEqual({True, False}, set(self.values({"type": "boolean"})))
        self.assertEqual({1, 2, None}, set(self.values({"anyOf": [{"const": 1}, {"const": 2}, {"type": "null"}]})))
        for value in self.values({"type": "string", "minLength": 8, "maxLength": 30}):
            self.assertTrue(re.fullmatch("[a-z]+([ -][a-z]+)*", value), value)

    def test_dictionaries(self) -> None:
        """An object that is a dictionary has as many entries as an array has elements."""
        drawn = self.values({"type": "object", "additionalProperties": {"type": "integer"}})
        self.assertEqual({1, 2, 3, 4, 5}, set(map(len, drawn)))
        self.assertEqual([{}], self.values({"type": "object", "properties": {}}, ALWAYS, 1))

    def test_nullable(self) -> None:
        """A type that OpenAPI calls nullable is given, as null does not validate."""
        self.assertEqual({int}, set(map(type, self.values({"type": "integer", "nullable": True}))))

    def test_not_shared(self) -> None:
        """A value may be changed without changing the schema or the next value."""
        schema: Any = {"enum": [{"a": [1]}]}
        sampler = SchemaSampler(schema, Ranges())
        value: Any = sampler.sample(random.Random(1))
        value["a"].append(2)
        self.assertEqual({"a": [1]}, sampler.sample(random.Random(1)))

    def test_recursion_ends(self) -> None:
        """Values of schemas that refer to themselves stay small."""
        schema = {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                    "required": ["children"],
                }
            },
        }
        for ranges in (Ranges(), Ranges(array_least=3, array_most=9)):
            for value in self.values(schema, ranges, 20):
                self.assertLess(len(json_text(value)), 20_000)
