"""How messages and services are declared."""

from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.declared import Enum, Field, Message, Method, OneOf, Service, declare


def message(*members: Field | OneOf | Enum | Message) -> Any:
    """Declare a message, and find its class."""
    return declare("a.proto", "a", Message("A", *members), imports=[struct_pb2.DESCRIPTOR]).message("A")


class FieldTests(SynchronousTestCase):
    """What messages have."""

    def test_wire(self) -> None:
        """A field is on the wire under its number and type; one that is 0 or empty is not."""
        made = message(("uint32", "count", 3), ("string", "name", 16), ("bool", "yes", 1))
        self.assertEqual(
            b"\x08\x01\x18\x96\x01\x82\x01\x02hi", made(count=150, name="hi", yes=True).SerializeToString()
        )
        self.assertEqual(b"", made(count=0, name="").SerializeToString())
        self.assertEqual(150, made.FromString(b"\x18\x96\x01").count)

    def test_optional(self) -> None:
        """An optional field tells 0 from nothing, and another does not."""
        made = message(("optional float", "temperature", 5), OneOf("prompt", ("string", "text", 3)))
        self.assertFalse(made().HasField("temperature"))
        self.assertTrue(made.FromString(made(temperature=0).SerializeToString()).HasField("temperature"))
        self.assertRaises(ValueError, message(("float", "temperature", 5))().HasField, "temperature")

    def test_oneof(self) -> None:
        """Of the fields of a oneof the last that is set is there."""
        made = message(
            OneOf("prompt", ("string", "text", 3), ("B", "ids", 4)), Message("B", ("repeated int32", "x", 1))
        )
        said = made(text="a")
        said.ids.x.extend([1, 2])
        self.assertEqual(("ids", ""), (said.WhichOneof("prompt"), said.text))

    def test_map(self) -> None:
        """A map has entries by key; its values may be messages."""
        made = message(("map<int32, float>", "logit_bias", 4), ("map<string, A>", "by_name", 5))
        said = made(logit_bias={7: 0.5})
        said.by_name["x"].logit_bias[-1] = 2
        self.assertEqual(
            {"logitBias": {"7": 0.5}, "byName": {"x": {"logitBias": {"-1": 2.0}}}},
            MessageToDict(made.FromString(said.SerializeToString())),
        )

    def test_nested(self) -> None:
        """A message that is declared in another is found by both names, and so is what it has."""
        file = declare("a.proto", "a", Message("A", Message("B", Message("C", ("B", "b", 1)))))
        self.assertEqual("a.A.B.C", file.message("A.B.C").DESCRIPTOR.full_name)
        self.assertEqual("a.A.B", file.message("A.B.C").DESCRIPTOR.fields_by_name["b"].message_type.full_name)
        self.assertRaises(KeyError, file.message, "A.C")
        self.assertRaises(KeyError, file.message, "B")

    def test_enum(self) -> None:
        """An enum counts from 0, and numbers that it has not are kept."""
        made = message(Enum("Why", "LENGTH", "STOP"), ("Why", "why", 1))
        self.assertEqual((0, 1, 0), (made.LENGTH, made.STOP, made().why))
        self.assertEqual(7, made.FromString(b"\x08\x07").why)

    def test_imported(self) -> None:
        """Protobuf's own messages may be used, with what they can do beside holding fields."""
        made = message(("google.protobuf.Struct", "params", 3))
        said = made()
        said.params.update({"a": [1, None, {"b": True}]})
        self.assertEqual(
            {"params": {"a": [1.0, None, {"b": True}]}}, MessageToDict(made.FromString(said.SerializeToString()))
        )


class MistakeTests(SynchronousTestCase):
    """Declarations that cannot be."""

    def assertRefused(self, reason: str, *members: Field | OneOf) -> None:
        """Check that a message cannot have some members."""
        self.assertIn(reason, str(self.assertRaises(TypeError, message, *members)))

    def test_refused(self) -> None:
        """Protobuf refuses numbers and names that are there twice, wrong numbers, and types that there are none of."""
        self.assertRefused("duplicate", ("string", "a", 1), ("string", "b", 1))
        self.assertRefused("duplicate", ("string", "a", 1), ("string", "a", 2))
        self.assertRefused("number", ("string", "a", 0))
        self.assertRefused("text", ("text", "a", 1))
        self.assertRefused("map key", ("map<float, string>", "a", 1))
        self.assertRefused("oneof", OneOf("either", ("repeated string", "a", 1)))

    def test_unknown_message(self) -> None:
        """A method of messages that are not declared is refused."""
        service = Service("S", Method("M", "A", "B"))
        self.assertRaises(TypeError, declare, "a.proto", "a", Message("A"), service)


class ServiceTests(SynchronousTestCase):
    """What services have."""

    def test_streams(self) -> None:
        """A method says what it takes and gives, and whether these are streams."""
        service = declare(
            "a.proto",
            "a.b",
            Message("A"),
            Enum("E", "ZERO"),
            Service(
                "S",
                Method("Ask", "A", "A"),
                Method("Watch", "A", "A", streams_out=True),
                Method("Send", "A", "A", streams_in=True),
            ),
        ).service("S")
        self.assertEqual("a.b.S", service.full_name)
        self.assertEqual(
            [("Ask", False, False), ("Watch", False, True), ("Send", True, False)],
            [(each.name, each.client_streaming, each.server_streaming) for each in service.methods],
        )
        self.assertEqual("a.b.A", service.methods_by_name["Watch"].output_type.full_name)

    def test_own_pool(self) -> None:
        """Two declarations may have the same names: neither is in the way of the other."""
        first = declare("a.proto", "a", Message("A", ("string", "a", 1))).message("A")
        second = declare("a.proto", "a", Message("A", ("int32", "a", 1))).message("A")
        self.assertEqual(("x", 1), (first(a="x").a, second(a=1).a))
