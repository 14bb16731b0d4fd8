"""Compares what is declared with what others have published."""

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto


def contents(file: FileDescriptor, package: str | None = None) -> str:
    """Write out a file's messages, enums and services; its path and its options are its author's business.

    :param package: what to call the package instead.
    """
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    proto.ClearField("name")
    proto.ClearField("options")
    text = str(proto)
    return text if package is None else text.replace(proto.package, package)
