# -*- test-case-name: tests.structured.test_documents -*-
"""JSON Schemas as clients send them: checked, bounded, and with their references at hand.

A schema is refused when it is not one, refers to what is not in it, or is so large that work with it would hold up
others. Nothing is ever fetched, and patterns are matched in linear time.

A schema that names no draft is read as 2020-12; if it is wrong there and right in draft 7 or 4, whose lists of
``items`` and boolean bounds are still written, it is read so.
"""

import math
import re
from collections.abc import Iterator
from typing import Final, cast
from urllib.parse import quote

from jsonschema_rs import ReferencingError, RegexOptions, Registry, ValidationError, Validator, validator_for

from vllmsim.errors import InvalidRequest
from vllmsim.structured.drafts import DRAFTS, foreign_keywords, identifier, is_old
from vllmsim.structured.ecma import MOST_CHARACTERS
from vllmsim.structured.patterns import PatternSampler
from vllmsim.structured.references import REFERENCES, References
from vllmsim.structured.values import Budget, JsonValue, Refusal, Schema, has_type, identity
from vllmsim.structured.visits import is_small, spend_visits

_MOST_VALUES: Final = 10_000
_MOST_REFERENCES: Final = 1_500
"""A chain of references costs the validator time that grows with its square."""
_MOST_WEIGHT: Final = 15_000
"""Microseconds that all patterns together may take to read and compile, as they estimate it."""
_PATTERN_WEIGHT: Final = 6
_READING_WEIGHT: Final = 20
_WIDE: Final = (".", "[")
"""What may stand for nearly any character, which takes a matcher long to compile."""
_WIDE_WEIGHT: Final = 6
_SHORTHAND: Final = re.compile(r"\\[sSdDwW]")
_SHORTHAND_WEIGHT: Final = 20
_COMPILATION: Final = 20
"""Steps that it takes to compile a part of a schema, besides its patterns."""
_LONGEST_REASON: Final = 300
_BASE: Final = "urn:x-vllmsim-schema"
_UNEVALUATED: Final = ("unevaluatedItems", "unevaluatedProperties")
_FEW_UNEVALUATED: Final = 3
_PATTERN_OPTIONS: Final = RegexOptions(size_limit=1 << 23, dfa_size_limit=1 << 20)


def check_schema(schema: object) -> int:
    """Check that something is a JSON Schema that we can work with.

    :return: how long its patterns took at most: an estimate in microseconds.
    :raises vllmsim.errors.InvalidRequest: when it is not, with the reason in one line.
    """
    return SchemaDocument(schema).weight


class SchemaDocument:
    """A caller's JSON Schema.

    :param schema: a boolean, or a mapping as JSON has it; it must not be changed afterwards.
    :raises vllmsim.errors.InvalidRequest: when it is not a schema, or too large a one.
    :ivar root: the schema.
    :ivar size: how many values it has, at any depth.
    :ivar weight: how long its patterns take to read and compile: an estimate in microseconds.
    :ivar old: its draft is 7 or older, where a ``$ref`` hides its siblings.
    """

    def __init__(self, schema: object) -> None:
        self._samplers: dict[str, PatternSampler] = {}
        self._matchers: dict[str, Validator] = {}
        self._local: dict[int, Validator] = {}
        self._listed: dict[int, list[JsonValue]] = {}
        self._known: dict[int, dict[str, JsonValue]] = {}
        self._pointers: dict[int, str] | None = None
        self._found: References | None = None
        self._registry: Registry | None = None
        self._counted: bool | None = None
        if not isinstance(schema, bool | dict):
            raise InvalidRequest("The JSON schema is not valid: it is neither an object nor a boolean")
        self.root: Schema = schema
        try:
            self._measure()
            self._draft, self._validator = _validator_of(schema)
        except (Refusal, RecursionError) as error:
            raise InvalidRequest(f"The JSON schema is not valid: {error}") from error
        self.old = is_old(self._draft)
        self._foreign = foreign_keywords(self._draft)

    @property
    def references(self) -> References:
        """What its references refer to."""
        if self._found is None:
            self._found = References(self.root, identifier(self._draft))
        return self._found

    def known(self, schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Find what a part says in the document's draft: the part itself, if all its keywords are of that draft."""
        if self._foreign.isdisjoint(schema):
            return schema
        known = self._known.get(id(schema))
        if known is None:
            known = {keyword: value for keyword, value in schema.items() if keyword not in self._foreign}
            self._known[id(schema)] = known
        return known

    def accepts(self, schema: Schema, value: JsonValue, budget: Budget) -> bool:
        """Tell whether a value satisfies a part of the document.

        :param schema: the part, the very object; one that is not of the document accepts all.
        :param budget: what the work is taken from.
        :raises Refusal: when to find out takes too long.
        """
        if self._counted is None:
            self._counted = self._evaluating or not is_small(self)
        if self._counted:
            spend_visits(schema, value, self, budget)
        if schema is self.root:
            return self._validator.is_valid(value)
        if isinstance(schema, bool):
            return schema
        if self._pointers is None:
            self._pointers = _pointers(self.root)
        pointer = self._pointers.get(id(schema))
        if pointer is None:
            return True
        budget.spend_once(pointer, _COMPILATION + self.weight // 2)
        validator = self._local.get(id(schema))
        if validator is None:
            try:
                if self._registry is None:
                    self._registry = Registry([(_BASE, self.root)])
                validator = self._compile({"$ref": f"{_BASE}#{quote(pointer)}"})
            except (ValueError, ReferencingError):
                # An address in it means nothing without the whole, which is validated in the end.
                validator = self._compile({})
            self._local[id(schema)] = validator
        return validator.is_valid(value)

    def listed(self, part: dict[str, JsonValue]) -> list[JsonValue]:
        """Find the values that a part lists with `enum` or `const` and that have its type.

        :param part: a part as :meth:`known` says it, with one of these keywords.
        """
        found = self._listed.get(id(part))
        if found is None:
            found = [part["const"]] if "const" in part else cast("list[JsonValue]", part["enum"])
            if "const" in part and "enum" in part:
                wanted = identity(part["const"])
                found = [value for value in cast("list[JsonValue]", part["enum"]) if identity(value) == wanted]
            types = part.get("type")
            if types is not None:
                names = [types] if isinstance(types, str) else cast("list[str]", types)
                found = [value for value in found if any(has_type(value, name) for name in names)]
            self._listed[id(part)] = found
        return found

    def matches(self, pattern: str, text: str) -> bool:
        """Tell whether a pattern is found in a text, as validators look for it."""
        validator = self._matchers.get(pattern)
        if validator is None:
            validator = self._matchers[pattern] = self._compile({"pattern": pattern})
        return validator.is_valid(text)

    def sampler(self, pattern: str) -> PatternSampler:
        """Find what writes texts for a pattern.

        :raises Refusal: when it is not supported.
        """
        sampler = self._samplers.get(pattern)
        if sampler is None:
            sampler = self._samplers[pattern] = PatternSampler(pattern)
        return sampler

    def _compile(self, schema: dict[str, JsonValue]) -> Validator:
        return validator_for(
            {"$schema": self._draft, **schema},
            validate_formats=True,
            offline=True,
            pattern_options=_PATTERN_OPTIONS,
            registry=self._registry,
        )

    def _measure(self) -> None:
        """Count values and references, and weigh patterns.

        :raises Refusal: when there are too many, or too heavy ones.
        """
        references = unevaluated = self.size = 0
        patterns: dict[str, None] = {}
        for node in _containers(self.root):
            self.size += len(node)
            if self.size > _MOST_VALUES:
                raise Refusal(f"it has more than {_MOST_VALUES} values")
            if isinstance(node, dict):
                references += sum(keyword in node for keyword in REFERENCES)
                unevaluated += sum(keyword in node for keyword in _UNEVALUATED)
                if isinstance(pattern := node.get("pattern"), str):
                    patterns[pattern] = None
                if isinstance(named := node.get("patternProperties"), dict):
                    patterns.update(dict.fromkeys(named))
        if references > _MOST_REFERENCES:
            raise Refusal(f"it has more than {_MOST_REFERENCES} references")
        self._evaluating = unevaluated > _FEW_UNEVALUATED
        self.weight = 0
        for pattern in patterns:
            self.weight += self._weight(pattern)
            if self.weight > _MOST_WEIGHT:
                raise Refusal("its patterns are too large")

    def _weight(self, pattern: str) -> int:
        length = len(pattern)
        if length > MOST_CHARACTERS:
            raise Refusal(f"it has a pattern of more than {MOST_CHARACTERS} characters")
        # The validator rewrites a pattern once for each shorthand, and reads it anew each time.
        shorthands = len(_SHORTHAND.findall(pattern))
        rewriting = shorthands * (_SHORTHAND_WEIGHT + 2 * shorthands + length // 8)
        if rewriting > _MOST_WEIGHT or ("{" not in pattern and "\\p" not in pattern.lower()):
            # Counts and properties are what else makes a pattern heavier than it looks.
            return _PATTERN_WEIGHT + length // 4 + _WIDE_WEIGHT * sum(map(pattern.count, _WIDE)) + rewriting
        return _READING_WEIGHT + length + rewriting + self.sampler(pattern).weight


def _containers(root: Schema) -> Iterator[dict[str, JsonValue] | list[JsonValue]]:
    """Find all objects and arrays of a document.

    :raises Refusal: when it has a number that is none.
    """
    pending: list[dict[str, JsonValue] | list[JsonValue]] = [[root]]
    while pending:
        node = pending.pop()
        yield node
        for member in node.values() if isinstance(node, dict) else node:
            if isinstance(member, dict | list):
                pending.append(member)
            elif isinstance(member, float) and not math.isfinite(member):
                raise Refusal("it has a number that JSON does not have")


def _validator_of(schema: Schema) -> tuple[str, Validator]:
    """Compile a schema.

    :return: its draft, and what validates against it.
    :raises Refusal: when it is not a schema in any draft that it may be.
    """
    drafts = DRAFTS
    if isinstance(schema, dict) and "$schema" in schema:
        drafts = (str(schema["$schema"]),)
    reason = ""
    for draft in drafts:
        named = {**schema, "$schema": draft} if isinstance(schema, dict) and len(drafts) > 1 else schema
        try:
            return draft, validator_for(named, validate_formats=True, offline=True, pattern_options=_PATTERN_OPTIONS)
        except ValidationError as error:
            path = "".join(f"/{part}" for part in error.instance_path)
            reason = reason or " ".join(error.message.split())[:_LONGEST_REASON] + (f" (at {path})" if path else "")
        except (ValueError, TypeError, ReferencingError) as error:
            reason = reason or " ".join(str(error).split())[:_LONGEST_REASON]
    raise Refusal(reason)


def _pointers(root: Schema) -> dict[int, str]:
    found: dict[int, str] = {}
    pending: list[tuple[JsonValue, str]] = [(root, "")]
    while pending:
        node, pointer = pending.pop()
        if isinstance(node, dict):
            found[id(node)] = pointer
            pending += [
                (member, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}") for name, member in node.items()
            ]
        elif isinstance(node, list):
            pending += [(member, f"{pointer}/{index}") for index, member in enumerate(node)]
    return found
