# -*- test-case-name: tests.grpc.test_reflection -*-
"""``grpc.reflection``: what can be asked here, for tools that have no ``.proto`` files.

What is told of is what is served: the files in which the services are declared, and all that these import. A file that
is asked for comes with those that it imports before it. What is not there is an error in the place of one answer, and
the stream goes on.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import Any, ClassVar

from attrs import define, frozen
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, ServiceDescriptor

from vllmsim.api.declared import Declared
from vllmsim.api.reflection import REFLECTION, REFLECTION_ALPHA
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import Code

Services = Callable[[], Collection[ServiceDescriptor]]


class _Unknown(LookupError):
    """Nothing is there of what is asked for."""


def _with_imports(file: FileDescriptor, found: dict[str, FileDescriptor]) -> None:
    """Add a file behind those that it imports."""
    for imported in file.dependencies:
        _with_imports(imported, found)
    found.setdefault(file.name, file)


def _symbols(file: FileDescriptor) -> Iterator[str]:
    """List what is declared in a file by its full name."""
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)
    for enum in file.enum_types_by_name.values():
        yield enum.full_name
        yield from (f"{file.package}.{value.name}".lstrip(".") for value in enum.values)
    for extension in file.extensions_by_name.values():
        yield extension.full_name
    for message in file.message_types_by_name.values():
        yield from _symbols_within(message)


def _symbols_within(message: Descriptor) -> Iterator[str]:
    yield message.full_name
    yield from (field.full_name for field in (*message.fields, *message.extensions))
    yield from (oneof.full_name for oneof in message.oneofs)
    for enum in message.enum_types:
        yield enum.full_name
        yield from (f"{message.full_name}.{value.name}" for value in enum.values)
    for nested in message.nested_types:
        yield from _symbols_within(nested)


def _messages(messages: Collection[Descriptor]) -> Iterator[Descriptor]:
    for message in messages:
        yield message
        yield from _messages(message.nested_types)


@frozen
class _Index:
    """What is known of files.

    :param files: by name, with all that they import.
    """

    files: dict[str, FileDescriptor]
    symbols: dict[str, FileDescriptor]
    extensions: dict[str, dict[int, FileDescriptor]]

    @classmethod
    def of(cls, services: Collection[ServiceDescriptor]) -> "_Index":
        """Look through the files of services, and of what these use."""
        index = cls({}, {}, {})
        for service in services:
            _with_imports(service.file, index.files)
        for file in index.files.values():
            index.symbols.update(dict.fromkeys(_symbols(file), file))
            own: list[FieldDescriptor] = [*file.extensions_by_name.values()]
            for message in _messages(file.message_types_by_name.values()):
                index.extensions.setdefault(message.full_name, {})
                own += message.extensions
            for extension in own:
                assert extension.containing_type is not None
                numbers = index.extensions.setdefault(extension.containing_type.full_name, {})
                numbers[extension.number] = file
        return index

    def closure(self, file: FileDescriptor | None) -> list[bytes]:
        """List the descriptors of a file and of what it imports, that of the file first.

        :raises _Unknown: when there is no file.
        """
        if file is None:
            raise _Unknown
        found: dict[str, FileDescriptor] = {}
        _with_imports(file, found)
        return [each.serialized_pb for each in reversed(found.values())]


@define(eq=False)
class _Answers:
    """Answers questions in the messages of one version.

    :param declared: has these.
    :param services: lists what is served.
    """

    _declared: Declared
    _services: Services
    _known: _Index | None = None

    async def answer(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Answer one after the other."""
        async for request in requests:
            answer = self._declared.message("ServerReflectionResponse")(valid_host=request.host)
            answer.original_request.CopyFrom(request)
            try:
                self._fill(answer, request)
            except _Unknown:
                self._refuse(answer, Code.NOT_FOUND, "Nothing of this name, or number, is served here.")
            yield answer

    @property
    def _index(self) -> _Index:
        if self._known is None:
            self._known = _Index.of(self._services())
        return self._known

    def _fill(self, answer: Any, request: Any) -> None:
        index = self._index
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in sorted(service.full_name for service in self._services()):
                    answer.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._tell(answer, index.files.get(request.file_by_filename))
            case "file_containing_symbol":
                self._tell(answer, index.symbols.get(request.file_containing_symbol))
            case "file_containing_extension":
                wanted = request.file_containing_extension
                self._tell(answer, index.extensions.get(wanted.containing_type, {}).get(wanted.extension_number))
            case "all_extension_numbers_of_type":
                name = request.all_extension_numbers_of_type
                if name not in index.extensions:
                    raise _Unknown
                answer.all_extension_numbers_response.base_type_name = name
                answer.all_extension_numbers_response.extension_number.extend(sorted(index.extensions[name]))
            case _:
                self._refuse(answer, Code.INVALID_ARGUMENT, "The request asks for nothing.")

    def _tell(self, answer: Any, file: FileDescriptor | None) -> None:
        answer.file_descriptor_response.file_descriptor_proto.extend(self._index.closure(file))

    @staticmethod
    def _refuse(answer: Any, code: Code, message: str) -> None:
        answer.error_response.error_code, answer.error_response.error_message = code, message


class ReflectionCalls:
    """Tells what is served, in the messages of today.

    :param services: lists that.
    """

    service: ClassVar[Service] = Service(REFLECTION.service("ServerReflection"))

    def __init__(self, services: Services) -> None:
        self._answers = _Answers(REFLECTION, services)

    @service.conversation("ServerReflectionInfo")
    def info(self, requests: AsyncIterator[Any], _: Rpc) -> AsyncIterator[Any]:
        """Answer questions about services."""
        return self._answers.answer(requests)


class ReflectionAlphaCalls:
    """The same in the messages that most tools still have.

    :param services: lists what is served.
    """

    service: ClassVar[Service] = Service(REFLECTION_ALPHA.service("ServerReflection"))

    def __init__(self, services: Services) -> None:
        self._answers = _Answers(REFLECTION_ALPHA, services)

    @service.conversation("ServerReflectionInfo")
    def info(self, requests: AsyncIterator[Any], _: Rpc) -> AsyncIterator[Any]:
        """Answer questions about services."""
        return self._answers.answer(requests)
