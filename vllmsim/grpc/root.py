# -*- test-case-name: tests.grpc.test_root -*-
"""Finds what answers a call: by its path, which is ``/`` and the service's full name, ``/`` and the method's name."""

from collections.abc import Iterable
from typing import Final

from attrs import frozen
from google.protobuf.descriptor import ServiceDescriptor
from twisted.internet.defer import Deferred

from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Implementation, Method
from vllmsim.grpc.status import CallError, Code
from vllmsim.web.request import Request

_SHOWN: Final = 256


@frozen(eq=False)
class _Place:
    """A method, and the object that has it."""

    method: Method
    instance: Implementation


class CallRoot:
    """Joins services.

    :param implementations: no method of a service may be in two of them.
    """

    def __init__(self, implementations: Iterable[Implementation] = ()) -> None:
        self.services: dict[str, ServiceDescriptor] = {}
        self._places: dict[bytes, _Place] = {}
        for implementation in implementations:
            self.add(implementation)

    def add(self, implementation: Implementation) -> None:
        """Add a service, or a part of one.

        :raises ValueError: when one of its methods is there already.
        """
        service = implementation.service
        self.services[service.name] = service.descriptor
        for name, method in service.methods.items():
            path = f"/{service.name}/{name}".encode()
            if path in self._places:
                raise ValueError(f"{service.name} has two of {name}")
            self._places[path] = _Place(method, implementation)

    def working(self) -> frozenset[str]:
        """List the paths where the model works."""
        return frozenset(path.decode() for path, place in self._places.items() if place.method.inference)

    def locate(self, request: Request) -> None:
        """Find the method that a call is for, and settle whether the journal remembers it."""
        assert isinstance(request, Rpc)
        place = request.place = self._places.get(request.path)
        if place is None:
            request.worth_a_record = True
            return
        request.route = request.path.decode()
        request.worth_a_record = place.method.remembered
        request.inference = place.method.inference
        request.streams_in = place.method.streams_in

    def render(self, request: Request) -> Deferred[None]:
        """Have a call answered.

        :return: fires when it is; who calls ends it then.
        :raises CallError: when nobody does.
        """
        place: _Place | None = request.place
        if request.worth_a_record:
            request.begin_record()
        if place is None:
            raise self._unknown(request.path)
        return Deferred.fromCoroutine(place.method.answer(place.instance, request))

    def _unknown(self, path: bytes) -> CallError:
        """Say why nobody answers calls to a path."""
        shown = path[:_SHOWN].decode("utf-8", "replace")
        _, service, name = (*shown.split("/", 2), "", "")[:3]
        descriptor = self.services.get(service)
        if descriptor is None or name not in descriptor.methods_by_name:
            return CallError(Code.UNIMPLEMENTED, f"Method not found: {shown}", 501)
        return CallError(Code.UNIMPLEMENTED, f"Method not implemented: {shown}", 501)
