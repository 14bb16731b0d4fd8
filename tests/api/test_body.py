"""Reading request bodies."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from pydantic import BaseModel
from twisted.trial.unittest import SynchronousTestCase

import vllmsim.api
from vllmsim.api.body import Head, Listed, read_object, read_query, validate
from vllmsim.errors import MalformedRequest

JSON = Head("application/json; charset=utf-8")


class _Inner(BaseModel):
    kind: str


class _Body(BaseModel):
    numbers: list[int] = []
    either: str | list[_Inner] | None = None


class ReadTests(SynchronousTestCase):
    """Bytes to objects."""

    def refusal(self, body: bytes, head: Head = JSON) -> MalformedRequest:
        """Find out why a body is refused."""
        error: MalformedRequest = self.assertRaises(MalformedRequest, read_object, body, head)
        return error

    def test_objects(self) -> None:
        """A JSON object is read, under any JSON content type."""
        for kind in ("application/json", "Application/JSON;charset=utf-8", "application/vnd.api+json"):
            self.assertEqual({"a": 1}, read_object(b'{"a":1}', Head(kind)))

    def test_what_python_reads(self) -> None:
        """NaN, huge integers and halves of surrogate pairs are read, as Python's parser reads them."""
        read = read_object(b'{"a":NaN,"b":[123456789012345678901234567890,"\\udc00"],"\\ud800":1}', JSON)
        self.assertEqual([123456789012345678901234567890, "\ufffd"], read["b"])
        self.assertIn("\ufffd", read)

    def test_other_content_types(self) -> None:
        """Another content type, and none, are refused."""
        for kind in ("text/plain", "", "application/x-www-form-urlencoded", "text/x+json", None):
            self.assertIn("Only 'application/json' is allowed", self.refusal(b"{}", Head(kind)).message)

    def test_no_object(self) -> None:
        """Anything but an object is refused; null counts as nothing."""
        self.assertIn("'input': 'x'", self.refusal(b'"x"').message)
        self.assertIn("'type': 'missing'", self.refusal(b"null").message)

    def test_unreadable(self) -> None:
        """Bytes that are no text, and nesting without end, are refused."""
        for body in (b"\xc3(", b"[" * 100_000, b'{"a":' * 5000 + b'"\\ud800"' + b"}" * 5000):
            self.assertEqual("There was an error parsing the body", self.refusal(body).message)


class ValidateTests(SynchronousTestCase):
    """Objects to models."""

    def refusal(self, data: dict[str, Any], body: bytes = b"x") -> MalformedRequest:
        """Find out why an object is refused."""
        error: MalformedRequest = self.assertRaises(MalformedRequest, validate, _Body, data, body)
        return error

    def test_model(self) -> None:
        """What fits is read."""
        self.assertEqual([1], validate(_Body, {"numbers": ["1"]}, b"").numbers)

    def test_places(self) -> None:
        """The place of an error has the body's members, and not the branches of the model's unions."""
        error = self.refusal({"either": [{"kind": "a"}, {}]})
        self.assertIn("'loc': 'body.either.1.kind'", error.message)
        self.assertIn("2 validation errors:", error.message)
        self.assertEqual("body.numbers.1", self.refusal({"numbers": [1, "x"]}).param)
        for wrong in ({}, {"a": 1}, 7):
            error = self.refusal({"either": wrong})
            self.assertEqual("body.either", error.param)
            self.assertEqual(2, error.message.count("'loc': 'body.either',"))

    def test_ten_errors(self) -> None:
        """All errors are counted, and ten are listed."""
        error = self.refusal({"numbers": ["x"] * 12})
        self.assertIn("12 validation errors:", error.message)
        self.assertEqual(11, len(error.message.splitlines()))

    def test_exact_numbers(self) -> None:
        """A message shows an integer as it was sent, whatever the fast parser made of it."""
        error = self.refusal({"numbers": [1e30]}, b'{"numbers":[1.5,1000000000000000000000000000000,"x"]}')
        self.assertIn("'input': '1.5'", error.message)
        self.assertEqual(
            [], validate(_Body, {"numbers": ["x"]}, b'{"numbers":[],"more":1234567890123456789012}').numbers
        )
        unreadable = b'{"numbers":["1234567890123456789"]}' + b"}"
        self.assertIn("'input': 'x'", self.refusal({"numbers": ["x"]}, unreadable).message)


class ListTests(SynchronousTestCase):
    """Lists of a million wrong items."""

    def models(self) -> Iterator[type[BaseModel]]:
        """Find the models of every dialect."""
        for module in walk_packages(vllmsim.api.__path__, "vllmsim.api."):
            for value in vars(import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel:
                    yield value

    def lists(self, schema: Any) -> Iterator[Any]:
        """Find the lists in what pydantic made of a model."""
        if isinstance(schema, dict):
            if schema.get("type") == "list":
                yield schema
            for value in schema.values():
                yield from self.lists(value)
        elif isinstance(schema, list | tuple):
            for value in schema:
                yield from self.lists(value)

    def test_bounded(self) -> None:
        """No field has a list of which more than a few wrong items would be reported."""
        found = []
        for model in self.models():
            model.model_rebuild(force=True)
            found += [(model, each) for each in self.lists(model.__pydantic_core_schema__)]
        self.assertGreater(len(found), 30)
        for model, each in found:
            bounded = each.get("fail_fast") or each.get("max_length")
            self.assertTrue(bounded or each["items_schema"] == {"type": "any"}, f"{model}: {each}")

    def test_first(self) -> None:
        """A list of a hundred thousand wrong items has one error."""

        class Body(BaseModel):
            """A body with a list."""

            numbers: Listed[int]

        error = self.assertRaises(MalformedRequest, validate, Body, {"numbers": ["x"] * 100_000}, b"{}")
        self.assertIn("1 validation error:", error.message)
        self.assertEqual("body.numbers.0", error.param)


class _Query(BaseModel):
    number: int = 1
    words: list[str] | None = None


class QueryTests(SynchronousTestCase):
    """Query strings to models."""

    def test_values(self) -> None:
        """Of an argument the last value counts, of a list all; what is unknown is ignored."""
        self.assertEqual(_Query(number=3), read_query(_Query, {"number": ["2", "3"], "x": ["y"]}, lists={"words"}))
        self.assertEqual(_Query(words=["a", "b"]), read_query(_Query, {"words": ["a", "b"]}, lists={"words"}))

    def test_wrong(self) -> None:
        """Arguments that are wrong are named as the query's."""
        error = self.assertRaises(MalformedRequest, read_query, _Query, {"number": ["x"], "words": ["y"]})
        self.assertEqual("query.number", error.param)
        self.assertIn("2 validation errors:\n  {'type': 'int_parsing', 'loc': 'query.number'", error.message)
