"""How a server tells what can be called there."""

from typing import Any, ClassVar

from google.protobuf import struct_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import DESCRIPTOR, FileDescriptorProto, MessageOptions
from google.protobuf.descriptor_pool import DescriptorPool

from tests.grpc.calling import Called, CallTestCase
from tests.grpc.numbers import NumberCalls
from vllmsim.api.declared import Enum, Message, Method, OneOf, declare
from vllmsim.api.declared import Service as DeclaredService
from vllmsim.api.reflection import REFLECTION, REFLECTION_ALPHA
from vllmsim.grpc.reflection import ReflectionAlphaCalls, ReflectionCalls
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import Code

OPTIONS = MessageOptions.DESCRIPTOR.full_name
Request = REFLECTION.message("ServerReflectionRequest")

SHAPES = declare(
    "shapes.proto",
    "test.shapes",
    Message(
        "Shape",
        Enum("Kind", "ROUND", "SQUARE"),
        Message("Corner", ("int32", "x", 1)),
        OneOf("size", ("int32", "radius", 1), ("Corner", "corner", 2)),
        ("google.protobuf.Struct", "more", 3),
    ),
    Enum("Colour", "RED", "GREEN"),
    DeclaredService("Shapes", Method("Draw", "Shape", "Shape")),
    imports=[struct_pb2.DESCRIPTOR],
)


def extending() -> ServiceDescriptor:
    """Declare a service whose file extends the messages of another, as only files of the older syntax do much."""
    proto = FileDescriptorProto(name="notes.proto", package="test", syntax="proto2")
    proto.dependency.append(DESCRIPTOR.name)
    message = proto.message_type.add(name="Noted")
    for where, name, number in ((proto, "note", 50002), (message, "inner", 50001)):
        where.extension.add(name=name, number=number, type="TYPE_STRING", label="LABEL_OPTIONAL", extendee=OPTIONS)
    proto.service.add(name="Notes").method.add(name="Take", input_type="Noted", output_type="Noted")
    pool = DescriptorPool()
    pool.AddSerializedFile(DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(proto.SerializeToString())
    return pool.FindServiceByName("test.Notes")


class NoteCalls:
    """Takes no notes."""

    service: ClassVar[Service] = Service(extending())


class ShapeCalls:
    """Draws nothing."""

    service: ClassVar[Service] = Service(SHAPES.service("Shapes"))


class ReflectionTests(CallTestCase):
    """What tools are told."""

    def setUp(self) -> None:
        """Serve something."""
        self.serve()
        for calls in (ReflectionCalls, ReflectionAlphaCalls):
            self.root.add(calls(self.root.services.values))
        self.root.add(NumberCalls(self.clock))
        self.root.add(ShapeCalls())

    def ask(self, *requests: Any, declared: Any = REFLECTION, end: bool = True) -> Called:
        """Ask some questions in one stream."""
        path = f"/{declared.service('ServerReflection').full_name}/ServerReflectionInfo"
        return self.call(path, declared.message("ServerReflectionResponse"), *requests, end=end)

    def answer(self, **question: Any) -> Any:
        """Ask one."""
        request = Request(**question)
        (answer,) = self.ask(request).messages
        self.assertEqual(request, answer.original_request)
        return answer

    def files(self, **question: Any) -> list[str]:
        """Ask for a file, and list the names of those that come."""
        files = self.answer(**question).file_descriptor_response.file_descriptor_proto
        return [FileDescriptorProto.FromString(each).name for each in files]

    def test_services(self) -> None:
        """All services are listed, in both versions."""
        wanted = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
                  "test.Numbers", "test.shapes.Shapes"]  # fmt: skip
        for declared in (REFLECTION, REFLECTION_ALPHA):
            request = declared.message("ServerReflectionRequest")(host="here", list_services="*")
            (answer,) = self.ask(request, declared=declared).messages
            self.assertEqual(wanted, [each.name for each in answer.list_services_response.service])
            self.assertEqual(("here", request), (answer.valid_host, answer.original_request))

    def test_files(self) -> None:
        """A file is found by its name, and by whatever is declared in it, and comes with what it imports."""
        both = ["shapes.proto", "google/protobuf/struct.proto"]
        self.assertEqual(both, self.files(file_by_filename="shapes.proto"))
        for symbol in ("Shapes", "Shapes.Draw", "Shape", "Shape.radius", "Shape.size", "Shape.Corner", "Colour",
                       "Shape.Corner.x", "Shape.Kind", "Shape.SQUARE", "GREEN"):  # fmt: skip
            self.assertEqual(both, self.files(file_containing_symbol=f"test.shapes.{symbol}"), symbol)
        self.assertEqual(["numbers.proto"], self.files(file_containing_symbol="test.Numbers"))
        self.assertEqual(both[1:], self.files(file_containing_symbol="google.protobuf.Struct"))

    def test_usable(self) -> None:
        """What comes is all that it takes to make messages."""
        pool = DescriptorPool()
        files = self.answer(file_containing_symbol="test.shapes.Shapes").file_descriptor_response
        for each in reversed(files.file_descriptor_proto):
            pool.AddSerializedFile(each)
        method = pool.FindServiceByName("test.shapes.Shapes").methods_by_name["Draw"]
        self.assertEqual("test.shapes.Shape", method.input_type.full_name)

    def test_not_there(self) -> None:
        """What is not there is an error in the place of one answer; what others have declared is not shown."""
        for question in (
            {"file_by_filename": "nothing.proto"},
            {"file_by_filename": "google/protobuf/descriptor.proto"},
            {"file_containing_symbol": "test.shapes"},
            {"file_containing_symbol": OPTIONS},
            {"file_containing_symbol": ""},
            {"all_extension_numbers_of_type": OPTIONS},
            {"file_containing_extension": {"containing_type": "test.shapes.Shape", "extension_number": 100}},
            {"file_containing_extension": {"containing_type": OPTIONS, "extension_number": 1}},
        ):
            self.assertEqual(Code.NOT_FOUND, self.answer(**question).error_response.error_code, question)
        self.assertEqual(Code.INVALID_ARGUMENT, self.answer(host="here").error_response.error_code)

    def test_extensions(self) -> None:
        """A type that nobody has extended has no extensions, which is no error."""
        answer = self.answer(all_extension_numbers_of_type="test.shapes.Shape").all_extension_numbers_response
        self.assertEqual(("test.shapes.Shape", []), (answer.base_type_name, [*answer.extension_number]))

    def test_extended(self) -> None:
        """Extensions are listed by what they extend, and found by their numbers and names."""
        self.root.add(NoteCalls())
        answer = self.answer(all_extension_numbers_of_type=OPTIONS).all_extension_numbers_response
        self.assertEqual((OPTIONS, [50001, 50002]), (answer.base_type_name, [*answer.extension_number]))
        both = ["notes.proto", DESCRIPTOR.name]
        for number in (50001, 50002):
            wanted = {"containing_type": OPTIONS, "extension_number": number}
            self.assertEqual(both, self.files(file_containing_extension=wanted))
        for symbol in ("test.note", "test.Noted.inner"):
            self.assertEqual(both, self.files(file_containing_symbol=symbol))

    def test_stream(self) -> None:
        """One stream answers one question after the other, also after an error."""
        called = self.ask(Request(file_by_filename="nothing"), end=False)
        called.send(Request(list_services=""))
        self.assertEqual(2, len(called.messages))
        self.assertEqual((5, 4), (called.messages[0].error_response.error_code,
                                  len(called.messages[1].list_services_response.service)))  # fmt: skip
        called.stream.end()
        self.assertEqual(Code.OK, called.code)
