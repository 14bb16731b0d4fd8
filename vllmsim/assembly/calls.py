# -*- test-case-name: tests.assembly.test_calls -*-
"""Every service that a rank has for gRPC: each is named here once. Imported when the first connection wants HTTP/2."""

from collections.abc import Iterator

from vllmsim.assembly.frontend import front_end_calls
from vllmsim.assembly.surfaces import Surfaces
from vllmsim.assembly.telling import engine_calls
from vllmsim.grpc.health import HealthCalls
from vllmsim.grpc.kvevents import KvEventCalls
from vllmsim.grpc.reflection import ReflectionAlphaCalls, ReflectionCalls
from vllmsim.grpc.root import CallRoot
from vllmsim.grpc.service import Implementation


def call_root(surfaces: Surfaces) -> CallRoot:
    """Join the services."""
    root = CallRoot(_own_calls(surfaces))
    root.add(HealthCalls(surfaces.clocks.real, surfaces.doors.health, root.services.keys))
    for reflection in (ReflectionCalls, ReflectionAlphaCalls):
        root.add(reflection(root.services.values))
    return root


def _own_calls(surfaces: Surfaces) -> Iterator[Implementation]:
    """Make vLLM's own services."""
    yield KvEventCalls(surfaces.clocks.background, surfaces.doors.event_logs, surfaces.doors.loads)
    yield from engine_calls(surfaces)
    yield from front_end_calls(surfaces)
