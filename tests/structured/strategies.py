"""JSON Schemas that have values, for property tests.

They are satisfiable by construction: bounds are drawn in order, enumerations fit their types, branches of a choice
stand alone, and what refers to itself can end.
"""

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]

NAMES = st.sampled_from(
    ["city", "days", "unit", "a b", "größe", "x/y", "a~b", "$id2", "名", "with.dot", "type", "enum"]
)
PATTERNS = st.sampled_from(
    [
        "^[a-z]+$",
        "^[A-Z]{2}\\d{3,5}$",
        "\\d",
        "^(red|green|blue)$",
        "^\\w+@\\w+\\.(com|org)$",
        '^[^\\s"]{1,8}$',
        "^a.c$",
        "^(ab|cd)*ef?$",
        "^\\+?[0-9 ]{5,}$",
        "[A-Za-z_][A-Za-z0-9_]*",
        "^\\/v\\d+\\/$",
        "^\\u0041\\x42$",
        "^(\\d{1,3}\\.){3}\\d{1,3}$",
        "^$",
        "foo$",
        "^#[0-9a-fA-F]{6}$",
        "\\bend\\b",
    ]
)
FORMATS = st.sampled_from(
    [
        "date-time",
        "date",
        "time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uri-reference",
        "uuid",
        "regex",
        "json-pointer",
        "password",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5
)


@st.composite
def strings(draw: st.DrawFn) -> Schema:
    """Strings: free, of some length, of a pattern or of a format."""
    kind = draw(st.sampled_from(["free", "length", "pattern", "format"]))
    schema: Schema = {"type": "string"}
    if kind == "length":
        least = draw(st.integers(0, 40))
        schema |= draw(
            st.sampled_from(
                [{"minLength": least}, {"maxLength": least}, {"minLength": least, "maxLength": least + least % 3}]
            )
        )
    elif kind == "pattern":
        schema["pattern"] = draw(PATTERNS)
    elif kind == "format":
        schema["format"] = draw(FORMATS)
    return schema


@st.composite
def numbers(draw: st.DrawFn) -> Schema:
    """Integers and numbers with bounds on either side, and multiples that lie between them."""
    kind = draw(st.sampled_from(["integer", "number"]))
    schema: Schema = {"type": kind}
    bounds = st.integers(-1000, 1000) if kind == "integer" else st.floats(-1000, 1000, width=32)
    low = draw(bounds)
    width = draw(st.integers(2, 500))
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = low + width
    if draw(st.booleans()):
        # Small enough that one lies between any two bounds.
        schema["multipleOf"] = draw(st.sampled_from([1, 0.5, 0.25, 0.01, 0.1] if kind == "number" else [1, 0.5]))
    return schema


def _values_of_type(name: str) -> st.SearchStrategy[Any]:
    return {
        "string": st.text(st.characters(codec="utf-8"), max_size=5),
        "integer": st.integers(-100, 100),
        "boolean": st.booleans(),
        "null": st.none(),
    }[name]


@st.composite
def listed(draw: st.DrawFn) -> Schema:
    """Enumerations and constants, with and without a type."""
    if draw(st.booleans()):
        return {"const": draw(VALUES)}
    name = draw(st.sampled_from(["string", "integer", "boolean", "null"]))
    if draw(st.booleans()):
        values = draw(st.lists(_values_of_type(name), min_size=1, max_size=5))
        return {"type": name, "enum": _different(values)}
    return {"enum": _different(draw(st.lists(VALUES, min_size=1, max_size=5)))}


def _different(values: list[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    """Arrays of any length, tuples, sets of different integers, and arrays that contain something."""
    kind = draw(st.sampled_from(["items", "tuple", "unique", "contains"]))
    if kind == "tuple":
        prefix = draw(st.lists(inner, min_size=1, max_size=3))
        closed: Schema = {"items": False} if draw(st.booleans()) else {}
        return {"type": "array", "prefixItems": prefix} | closed
    least = draw(st.integers(0, 4))
    lengths: Schema = draw(st.sampled_from([{}, {"minItems": least}, {"minItems": least, "maxItems": least + 2}]))
    if kind == "unique":
        return {"type": "array", "items": {"type": "integer", "minimum": 1}, "uniqueItems": True, **lengths}
    if kind == "contains":
        return {"type": "array", "contains": draw(inner), "minContains": draw(st.integers(0, 2))}
    return {"type": "array", "items": draw(inner), **lengths}


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    """Objects with required and optional properties, dictionaries, and rules about names."""
    if draw(st.integers(0, 4)) == 0:
        rules: list[Schema] = [
            {"additionalProperties": draw(inner)},
            {"patternProperties": {"^x-[a-z]+$": draw(inner)}, "additionalProperties": False},
            {"propertyNames": {"pattern": "^[A-Z]+$"}},
        ]
        rule = draw(st.sampled_from(rules))
        return {"type": "object", **rule, "minProperties": draw(st.integers(0, 4))}
    properties = draw(st.dictionaries(NAMES, inner, max_size=5))
    schema: Schema = {"type": "object", "properties": properties}
    names = sorted(properties)
    schema["required"] = [name for name in names if draw(st.booleans())]
    if closed := draw(st.sampled_from(["", "additionalProperties", "unevaluatedProperties"])):
        schema[closed] = False
    match draw(st.sampled_from(["", "", "least", "most", "dependent"])):
        case "least":
            schema["minProperties"] = draw(st.integers(0, len(names)))
        case "most":
            schema["maxProperties"] = draw(st.integers(len(schema["required"]), len(names) + 1))
        case "dependent" if names:
            schema["dependentRequired"] = {
                draw(st.sampled_from(names)): draw(st.lists(st.sampled_from(names), unique=True))
            }
    return schema


@st.composite
def choices(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    """Choices of schemas; those of which exactly one may hold exclude each other."""
    if draw(st.booleans()):
        return {"anyOf": draw(st.lists(inner, min_size=1, max_size=3))}
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": f"k{number}"}, "value": schema},
                "required": ["kind", "value"],
            }
            for number, schema in enumerate(draw(st.lists(inner, min_size=1, max_size=3)))
        ]
    }


@st.composite
def merged(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    """Several schemas of which all hold, and what follows from a condition."""
    if draw(st.booleans()):
        return {
            "allOf": [
                {"type": "object", "properties": {"left": draw(inner)}, "required": ["left"]},
                {"properties": {"right": draw(inner), "left": True}, "required": ["right"]},
            ]
        }
    return {
        "type": "object",
        "properties": {"country": {"enum": ["US", "NL", "DE"]}},
        "required": ["country"],
        "if": {"properties": {"country": {"const": "US"}}},
        "then": {"properties": {"zip": {"type": "string", "pattern": "^\\d{5}$"}}, "required": ["zip"]},
        "else": {"properties": {"code": draw(inner)}, "required": ["code"]},
    }


def _nested(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return arrays(inner) | objects(inner) | choices(inner) | merged(inner)


_FREE: list[Schema] = [{}, {"type": "boolean"}, {"type": ["string", "null"]}]
_PLAIN: st.SearchStrategy[Schema] = strings() | numbers() | listed() | st.sampled_from(_FREE)
_REFERRING: st.SearchStrategy[Schema] = st.sampled_from(["#/$defs/leaf", "#/$defs/tree", "#/$defs/x~1y", "#named"]).map(
    lambda target: {"$ref": target}
)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Make a whole document of draft 2020-12: at the top an object, an array or anything, below that all of these.

    Its definitions are a leaf, one with an odd name, one with an anchor, and a tree that refers to itself.
    """
    inner = st.recursive(_PLAIN | _REFERRING, _nested, max_leaves=8)
    schema = dict(draw(objects(inner) | inner))
    schema["$defs"] = {
        "leaf": draw(_PLAIN),
        "x/y": {"type": "integer"},
        "other": {"$anchor": "named", "type": "object", "properties": {"leaf": {"$ref": "#/$defs/leaf"}}},
        "tree": {
            "type": "object",
            "properties": {
                "leaf": {"$ref": "#/$defs/leaf"},
                "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                "others": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
            },
            "required": ["left"],
        },
    }
    return schema
