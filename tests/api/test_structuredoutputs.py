"""Structured outputs in requests."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.structuredoutputs import ResponseFormat, StructuredOutputs, check_outputs, structured_output
from vllmsim.api.structuredoutputs import StructuralTagFormat as Tags
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.structure import ChoiceOutput, JsonOutput, RegexOutput, StructuredOutput

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def read(form: dict[str, Any] | None = None, **constraints: Any) -> StructuredOutput | None:
    """Read a format and constraints."""
    return structured_output(
        ResponseFormat.model_validate(form) if form else None,
        StructuredOutputs.model_validate(constraints) if constraints else None,
    )


class ReadTests(SynchronousTestCase):
    """What requests want."""

    def schema(self, output: StructuredOutput | None) -> Any:
        """Take the schema out."""
        assert isinstance(output, JsonOutput)
        return output.schema

    def test_formats(self) -> None:
        """A format is text, any JSON object, or JSON of a schema."""
        self.assertIsNone(read({"type": "text"}))
        self.assertEqual("object", self.schema(read({"type": "json_object"}))["type"])
        self.assertEqual(SCHEMA, self.schema(read({"type": "json_schema", "json_schema": {"schema": SCHEMA}})))
        self.assertEqual("object", self.schema(read({"type": "json_schema", "json_schema": {"name": "n"}}))["type"])

    def test_constraints(self) -> None:
        """A constraint is a schema as an object or as text, any object, an expression, or a choice of texts."""
        self.assertEqual(SCHEMA, self.schema(read(json=SCHEMA)))
        self.assertEqual({"type": "integer"}, self.schema(read(json='{"type": "integer"}')))
        huge = self.schema(read(json='{"minimum": 100000000000000000000000000000000}'))["minimum"]
        self.assertIsInstance(huge, float)
        self.assertEqual("object", self.schema(read(json_object=True))["type"])
        self.assertEqual(RegexOutput("a+"), read(regex="a+"))
        self.assertEqual(ChoiceOutput(("yes", "no")), read(choice=["yes", "no"]))
        self.assertIsNone(read(json_object=False))
        self.assertIsNone(read())

    def test_a_format_comes_first(self) -> None:
        """Where a request has both, its format holds."""
        self.assertEqual("object", self.schema(read({"type": "json_object"}, regex="a"))["type"])

    def test_refused(self) -> None:
        """What is no schema, no choice, or not simulated is refused by name."""
        wrong: tuple[dict[str, Any], ...] = (
            {"json": "no json"},
            {"json": "[1]"},
            {"json": "[" * 100_000},
            {"json": '{"minimum": NaN}'},
            {"json": '{"const": "\\ud800"}'},
            {"choice": []},
            {"grammar": "root ::= x"},
            {"structural_tag": "{}"},
        )
        for constraints in wrong:
            error = self.assertRaises(InvalidParameter, read, None, **constraints)
            self.assertEqual("structured_outputs", error.param)
        self.assertRaises(InvalidParameter, structured_output, Tags(type="structural_tag", format={}), None)
        for schema in ({"type": "nothing"}, {"$schema": "http://127.0.0.1:1/schema"}):
            self.assertRaises(InvalidRequest, read, None, json=schema)

    def test_contradictions(self) -> None:
        """Several constraints at once are refused, as is a schema format without one."""
        self.assertRaises(InvalidRequest, check_outputs, {"structured_outputs": {"regex": "a", "choice": ["a"]}})
        self.assertRaises(InvalidRequest, check_outputs, {"structured_outputs": {"grammar": "a", "json_object": True}})
        self.assertRaises(InvalidParameter, check_outputs, {"response_format": {"type": "json_schema"}})
        check_outputs({"response_format": {"type": "json_schema", "json_schema": {}}, "structured_outputs": "x"})
