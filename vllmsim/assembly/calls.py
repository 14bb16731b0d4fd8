# -*- test-case-name: tests.assembly.test_calls -*-
"""Every service that a rank has for gRPC: each is named here once. Imported when the first connection wants HTTP/2."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeAlias

from vllmsim.api.engine.generate import GenerateDialect
from vllmsim.assembly.frontend import front_end_calls
from vllmsim.assembly.surfaces import Surfaces
from vllmsim.grpc.engine import GenerateCalls
from vllmsim.grpc.health import HealthCalls
from vllmsim.grpc.kvevents import KvEventCalls
from vllmsim.grpc.reflection import ReflectionAlphaCalls, ReflectionCalls
from vllmsim.grpc.root import CallRoot
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Implementation
from vllmsim.web.http2.request import StreamRequest
from vllmsim.web.http2.stream import Stream

Make: TypeAlias = Callable[[Stream, bytes, bytes, str, Sequence[tuple[bytes, bytes]]], StreamRequest]

_GRPC: Final = b"application/grpc"


def calls_or_requests(root: CallRoot) -> Make:
    """Make what makes an exchange of each stream: a call where it says so, else a request like any other.

    :param root: answers calls.
    """
    call = partial(Rpc, routes=root)

    def make(
        stream: Stream, method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> StreamRequest:
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        # Of what may follow, call itself knows what is none of its kinds.
        is_call = kind.startswith(_GRPC) and kind[len(_GRPC) :][:1] in {b"", b"+", b";"}
        return (call if is_call else StreamRequest)(stream, method, target, version, headers)

    return make


def call_root(surfaces: Surfaces) -> CallRoot:
    """Join the services."""
    root = CallRoot(_chosen(surfaces))
    root.add(HealthCalls(surfaces.clock, surfaces.doors.health, root.services.keys))
    for reflection in (ReflectionCalls, ReflectionAlphaCalls):
        root.add(reflection(root.services.values))
    return root


def _chosen(surfaces: Surfaces) -> Iterator[Implementation]:
    """Make vLLM's own services, as far as the runner has them."""
    c, latest = surfaces.configuration, surfaces.latest
    generate = latest(lambda settings: GenerateDialect(settings, c.max_model_len))
    yield from surfaces.chosen([GenerateCalls(surfaces.answering, generate)], [])
    yield KvEventCalls(surfaces.clock, surfaces.doors.event_logs, surfaces.doors.loads)
    yield from front_end_calls(surfaces)
