# -*- test-case-name: tests.assembly.test_calls -*-
"""Every service that a rank has for gRPC: each is named here once. Imported when the first connection wants HTTP/2."""

from collections.abc import Iterator

from vllmsim.api.engine.generate import GenerateDialect
from vllmsim.assembly.frontend import front_end_calls
from vllmsim.assembly.surfaces import Surfaces
from vllmsim.assembly.telling import engine_calls
from vllmsim.grpc.engine import GenerateCalls
from vllmsim.grpc.health import HealthCalls
from vllmsim.grpc.kvevents import KvEventCalls
from vllmsim.grpc.reflection import ReflectionAlphaCalls, ReflectionCalls
from vllmsim.grpc.root import CallRoot
from vllmsim.grpc.service import Implementation


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
    yield from engine_calls(surfaces)
    yield from front_end_calls(surfaces)
