# -*- test-case-name: tests.tracing.test_collector -*-
"""How spans get to a collector: which protocol, and whether the packages for it are there.

OTLP goes over gRPC or over HTTP with protobuf. As in vLLM, ``OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`` says which;
``OTEL_EXPORTER_OTLP_PROTOCOL``, which OpenTelemetry has for all that is sent, is asked next, and then the address. An
address whose protocol was said is used as it is. One that means HTTP by its port alone gets the usual path.

Nothing of OpenTelemetry is imported here.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Final

from attrs import frozen

from vllmsim.config.collector import Protocol, parse_collector

_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PATH: Final = "/v1/traces"
_PACKAGES: Final[Mapping[Protocol, tuple[str, str]]] = {
    "http/protobuf": ("opentelemetry.exporter.otlp.proto.http", "otel"),
    "grpc": ("opentelemetry.exporter.otlp.proto.grpc", "otel-grpc"),
}
"""What each protocol needs beside the SDK, and which extra of ours brings both."""
_SDK: Final = "opentelemetry.sdk"


class TracingError(SystemExit):
    """Requests cannot be traced: ends the program with status 1 and one line that says why."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"vllmsim: cannot send traces: {reason}")


@frozen
class Destination:
    """Where spans go.

    :param url: as the exporter of the protocol takes it.
    :param place: what logs call it.
    """

    protocol: Protocol
    url: str
    place: str


def choose(endpoint: str, environ: Mapping[str, str]) -> Destination:
    """Settle how a collector is spoken to.

    :param endpoint: its address, which is one.
    :param environ: the environment.
    :raises TracingError: when the environment asks for a protocol that is not there, or that does not go with it.
    """
    collector = parse_collector(endpoint)
    variable = next((name for name in _VARIABLES if environ.get(name)), None)
    if variable is None:
        url = collector.url
        if collector.usual == "http/protobuf" and url.rstrip("/").endswith(collector.place):
            url = url.rstrip("/") + _PATH
        return Destination(collector.usual, url, collector.place)
    match environ[variable].strip():
        case "grpc":
            return Destination("grpc", collector.url, collector.place)
        case "http/protobuf" if collector.http:
            return Destination("http/protobuf", collector.url, collector.place)
        case "http/protobuf":
            raise TracingError(f"{variable} is http/protobuf, and {collector.url} is no address of that")
        case other:
            raise TracingError(f"{variable} is {other!r}, and must be grpc or http/protobuf")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def require(destination: Destination, is_there: Callable[[str], bool] = _is_there) -> None:
    """Make sure that what sends spans is installed. It is looked for, and not imported.

    :param is_there: tells of a module whether it can be imported.
    :raises TracingError: when something is missing; the message says how to install it.
    """
    exporter, extra = _PACKAGES[destination.protocol]
    if is_there(_SDK) and is_there(exporter):
        return
    hint = f"pip install 'vllmsim[{extra}]'"
    if destination.protocol == "grpc":
        hint += ", or give an address of OTLP over HTTP, such as http://HOST:4318/v1/traces"
    raise TracingError(f"what speaks {destination.protocol} to {destination.place} is not installed: {hint}")
