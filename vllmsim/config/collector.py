# -*- test-case-name: tests.config.test_collector -*-
"""Where spans are sent: the address of a collector, and what it says about the protocol that is spoken there."""

from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from attrs import frozen

Protocol: TypeAlias = Literal["grpc", "http/protobuf"]

_HTTP: Final = frozenset({"http", "https"})
_SCHEMES: Final = _HTTP | {"grpc"}
_HTTP_PORT: Final = 4318
"""Where collectors take OTLP over HTTP, unless they are told otherwise."""


@frozen
class Collector:
    """Where a collector listens.

    :param url: all of it, with a scheme.
    :param place: host and port, as logs show them.
    :param http: whether it can be one of OTLP over HTTP.
    :param usual: the protocol that is spoken there, unless something says otherwise.
    """

    url: str
    place: str
    http: bool
    usual: Protocol


def parse_collector(text: str) -> Collector:
    """Read a collector's address.

    vLLM speaks gRPC unless the environment says otherwise. gRPC has no paths, and another port: an address that has a
    path, or the port of OTLP over HTTP, means that.

    :raises ValueError: when it is none; the message says what is wrong with it.
    """
    url = text if "://" in text else f"grpc://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if "@" in url:
        raise ValueError("has a name or a password in it, which go in OTEL_EXPORTER_OTLP_TRACES_HEADERS")
    if text and (not host or parts.scheme not in _SCHEMES or not text.isprintable() or " " in text):
        raise ValueError(
            f"{text!r} is no address of a collector, such as http://host:4318/v1/traces or grpc://host:4317"
        )
    http = parts.scheme in _HTTP
    means_http = http and (parts.path.strip("/") or port == _HTTP_PORT)
    return Collector(url, parts.netloc, http, "http/protobuf" if means_http else "grpc")
