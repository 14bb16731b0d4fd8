# -*- test-case-name: tests.parallel.test_pinning -*-
"""The door of a rank that has a port of its own, beside others that have theirs: a request may name another rank."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from attrs import define, evolve, frozen
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from vllmsim.errors import InferenceError
from vllmsim.inference import InferenceRequest
from vllmsim.interfaces import IModelCatalogue, ISimulator, ITokenSink
from vllmsim.pooling import PoolingRequest
from vllmsim.records import RequestRecord

R = TypeVar("R", InferenceRequest, PoolingRequest)


@frozen(eq=False)
class Behaviours:
    """How the requests of each rank are served that come now, by number.

    :param now: tells it, as scheduling knows it.
    """

    now: Mapping[int, Callable[[], object]]

    def move(self, request: R, read_by: int, served_by: int) -> R:
        """Have a request served as is usual on a rank.

        One that was read before something changed is served as what held then: it has one configuration, whole.

        :param read_by: the rank whose port it came to.
        """
        if read_by == served_by or request.behaviour is not self.now[read_by]():
            return request
        return evolve(request, behaviour=self.now[served_by]())


@implementer(ISimulator)
@define(eq=False)
class PinnedSimulator:
    """Serves a request on the rank that it names, and on its own where it names none.

    :param own: the rank whose door it is.
    :param simulators: all ranks that a request may name, by number.
    :param models: which models each of them serves.
    :param behaviours: how they serve.
    """

    _own: int
    _simulators: Mapping[int, ISimulator]
    _models: Mapping[int, IModelCatalogue]
    _behaviours: Behaviours

    def submit(
        self, request: InferenceRequest, sink: ITokenSink, record: RequestRecord | None = None
    ) -> Deferred[None]:
        """Serve a request; see :class:`vllmsim.interfaces.ISimulator`.

        It fails with :class:`vllmsim.errors.UnknownModel` where the other rank does not serve its model.
        """
        rank = request.rank
        if rank is None or rank == self._own:
            return self._simulators[self._own].submit(request, sink, record)
        try:
            # Adapters are loaded on one rank, or on another, and each counts its own.
            model = self._models[rank].resolve(request.model)
        except InferenceError as error:
            return fail(error)
        if record is not None:
            record.rank = rank
        there = evolve(self._behaviours.move(request, self._own, rank), adapter=self._models[rank].adapter(model))
        return self._simulators[rank].submit(there, sink, record)
