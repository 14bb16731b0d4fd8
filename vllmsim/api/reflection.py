# -*- test-case-name: tests.api.test_reflection -*-
"""The messages of ``grpc.reflection``: how tools such as grpcurl learn what a gRPC server can be asked.

One stream takes questions and answers each: which services there are, and the descriptors of the file with a name, with
a symbol, or with an extension. ``v1`` and ``v1alpha`` differ in their names alone, and tools ask for either.
"""

from typing import Final

from vllmsim.api.declared import Declared, Message, Method, OneOf, Service, declare


def _declare(version: str) -> Declared:
    return declare(
        f"grpc/reflection/{version}/reflection.proto",
        f"grpc.reflection.{version}",
        Message(
            "ServerReflectionRequest",
            ("string", "host", 1),
            OneOf(
                "message_request",
                ("string", "file_by_filename", 3),
                ("string", "file_containing_symbol", 4),
                ("ExtensionRequest", "file_containing_extension", 5),
                ("string", "all_extension_numbers_of_type", 6),
                ("string", "list_services", 7),
            ),
        ),
        Message("ExtensionRequest", ("string", "containing_type", 1), ("int32", "extension_number", 2)),
        Message(
            "ServerReflectionResponse",
            ("string", "valid_host", 1),
            ("ServerReflectionRequest", "original_request", 2),
            OneOf(
                "message_response",
                ("FileDescriptorResponse", "file_descriptor_response", 4),
                ("ExtensionNumberResponse", "all_extension_numbers_response", 5),
                ("ListServiceResponse", "list_services_response", 6),
                ("ErrorResponse", "error_response", 7),
            ),
        ),
        Message("FileDescriptorResponse", ("repeated bytes", "file_descriptor_proto", 1)),
        Message("ExtensionNumberResponse", ("string", "base_type_name", 1), ("repeated int32", "extension_number", 2)),
        Message("ListServiceResponse", ("repeated ServiceResponse", "service", 1)),
        Message("ServiceResponse", ("string", "name", 1)),
        Message("ErrorResponse", ("int32", "error_code", 1), ("string", "error_message", 2)),
        Service(
            "ServerReflection",
            Method(
                "ServerReflectionInfo",
                "ServerReflectionRequest",
                "ServerReflectionResponse",
                streams_in=True,
                streams_out=True,
            ),
        ),
    )


REFLECTION: Final = _declare("v1")
"""The file ``reflection.proto`` of today."""
REFLECTION_ALPHA: Final = _declare("v1alpha")
"""That of before, for which most tools ask still."""
