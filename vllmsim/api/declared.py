# -*- test-case-name: tests.api.test_declared -*-
"""Protocol-buffer messages and gRPC services that are declared as tables in Python.

Messages come to the wire by the numbers and types of their fields, and to reflection by their names: a table has all of
that, so that neither a ``.proto`` file nor generated code is needed. A member of a message is a field
``(type, name, number)``, a :class:`OneOf` of fields, or a nested :class:`Message` or :class:`Enum`. The type is one of
protobuf's scalars or the name of a message or an enum, found from the inside out as protobuf does, and may be preceded
by ``repeated`` or, to know whether it is there, by ``optional``; a map's is ``map<string, int32>``.

:func:`declare` has protobuf check all that, in a pool of its own: nothing that others have registered under the same
names is in the way, nor is what is declared here in theirs.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from vllmsim.errors import UnreadableMessage

_MAP: Final = re.compile(r"map<(\w+), ([\w.]+)>")
_SCALARS: Final = {
    name.removeprefix("TYPE_").lower(): number
    for name, number in FieldDescriptorProto.Type.items()
    if name not in ("TYPE_GROUP", "TYPE_MESSAGE", "TYPE_ENUM")
}

Field: TypeAlias = tuple[str, str, int]
"""The type of a field, its name, and its number."""


@frozen(init=False)
class OneOf:
    """Fields of which a message has one at most; none of them is repeated or optional."""

    name: str
    fields: tuple[Field, ...]

    def __init__(self, name: str, *fields: Field) -> None:
        self.__attrs_init__(name, fields)


@frozen(init=False)
class Enum:
    """Numbers with names; the first is 0, which is what a field has that nobody has set."""

    name: str
    values: tuple[str, ...]

    def __init__(self, name: str, *values: str) -> None:
        self.__attrs_init__(name, values)


@frozen(init=False)
class Message:
    """A message, and what is declared in it."""

    name: str
    members: "tuple[Field | OneOf | Enum | Message, ...]"

    def __init__(self, name: str, *members: "Field | OneOf | Enum | Message") -> None:
        self.__attrs_init__(name, members)


@frozen
class Method:
    """A method of a service.

    :param asks: the message that it takes.
    :param answers: the message that it gives.
    :param streams_in: whether it takes any number of them.
    :param streams_out: whether it gives any number of them.
    """

    name: str
    asks: str
    answers: str
    streams_in: bool = field(default=False, kw_only=True)
    streams_out: bool = field(default=False, kw_only=True)


@frozen(init=False)
class Service:
    """A service."""

    name: str
    methods: tuple[Method, ...]

    def __init__(self, name: str, *methods: Method) -> None:
        self.__attrs_init__(name, methods)


@frozen(eq=False)
class Declared:
    """Messages and services as protobuf has made them.

    :param file: the descriptor of all of them together.
    """

    file: FileDescriptor

    def message(self, name: str) -> Any:
        """Find the class of a message, a subclass of :class:`google.protobuf.message.Message`.

        :param name: its name, behind those of the messages that it is in: ``Outer.Inner``.
        :raises KeyError: when there is none.
        """
        outer, *inner = name.split(".")
        descriptor = self.file.message_types_by_name[outer]
        for each in inner:
            descriptor = descriptor.nested_types_by_name[each]
        return message_factory.GetMessageClass(descriptor)

    def service(self, name: str) -> ServiceDescriptor:
        """Find a service.

        :raises KeyError: when there is none.
        """
        return self.file.services_by_name[name]


def declare(
    path: str, package: str, *declarations: Message | Enum | Service, imports: Sequence[FileDescriptor] = ()
) -> Declared:
    """Make messages and services of their tables, in the syntax ``proto3``.

    :param path: what reflection calls the file that would have them.
    :param package: what their full names begin with.
    :param imports: files with messages that are used here; what these import themselves must stand before them.
    :raises TypeError: when protobuf will not have them: a number or a name is there twice, say, or a type is unknown.
    """
    proto = FileDescriptorProto(name=path, package=package, syntax="proto3")
    proto.dependency.extend(each.name for each in imports)
    for each in declarations:
        if isinstance(each, Message):
            _write_message(proto.message_type.add(), each)
        elif isinstance(each, Enum):
            _write_enum(proto.enum_type.add(), each)
        else:
            _write_service(proto.service.add(), each)
    pool = DescriptorPool()
    for imported in imports:
        pool.AddSerializedFile(imported.serialized_pb)
    pool.AddSerializedFile(proto.SerializeToString())
    return Declared(pool.FindFileByName(path))


def read_message(kind: Any, data: bytes) -> Any:
    """Read a message.

    :param kind: the class of such messages.
    :raises UnreadableMessage: when the bytes are none.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise UnreadableMessage from None


def _write_message(proto: DescriptorProto, message: Message) -> None:
    proto.name = message.name
    optional = []
    for each in message.members:
        if isinstance(each, Message):
            _write_message(proto.nested_type.add(), each)
        elif isinstance(each, Enum):
            _write_enum(proto.enum_type.add(), each)
        elif isinstance(each, OneOf):
            for one in each.fields:
                _write_field(proto, one).oneof_index = len(proto.oneof_decl)
            proto.oneof_decl.add(name=each.name)
        elif (written := _write_field(proto, each)).proto3_optional:
            optional.append(written)
    # Whether an optional field is there is remembered in a oneof of its own, which must stand behind the real ones.
    for written in optional:
        written.oneof_index = len(proto.oneof_decl)
        proto.oneof_decl.add(name=f"_{written.name}")


def _write_field(proto: DescriptorProto, declared: Field) -> FieldDescriptorProto:
    """Add a field to a message, and the message of its entries if it is a map."""
    kind, name, number = declared
    written = proto.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    label, _, rest = kind.partition(" ")
    if entries := _MAP.fullmatch(kind):
        entry = proto.nested_type.add(name="".join(word.capitalize() for word in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for inner in ((entries[1], "key", 1), (entries[2], "value", 2)):
            _write_field(entry, inner)
        written.label, kind = FieldDescriptorProto.LABEL_REPEATED, entry.name
    elif label == "repeated":
        written.label, kind = FieldDescriptorProto.LABEL_REPEATED, rest
    elif label == "optional":
        written.proto3_optional, kind = True, rest
    if kind in _SCALARS:
        written.type = _SCALARS[kind]
    else:
        # Whether that is a message or an enum is found out by protobuf.
        written.type_name = kind
    return written


def _write_enum(proto: EnumDescriptorProto, enum: Enum) -> None:
    proto.name = enum.name
    for number, name in enumerate(enum.values):
        proto.value.add(name=name, number=number)


def _write_service(proto: ServiceDescriptorProto, service: Service) -> None:
    proto.name = service.name
    for each in service.methods:
        method = proto.method.add(name=each.name, input_type=each.asks, output_type=each.answers)
        if each.streams_in:
            method.client_streaming = True
        if each.streams_out:
            method.server_streaming = True
