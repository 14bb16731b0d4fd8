# -*- test-case-name: tests.parallel.test_pinning -*-
"""The door of a rank that has a port of its own, beside others that have theirs: a request may name another rank."""

from collections.abc import Mapping

from attrs import define, evolve
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from vllmsim.errors import InferenceError
from vllmsim.inference import InferenceRequest
from vllmsim.interfaces import IModelCatalogue, ISimulator, ITokenSink
from vllmsim.records import RequestRecord


def moved(request: InferenceRequest) -> InferenceRequest:
    """Have a request served as those of another rank are than the one whose port it came to."""
    return evolve(request, behaviour=None)


@implementer(ISimulator)
@define(eq=False)
class PinnedSimulator:
    """Serves a request on the rank that it names, and on its own where it names none.

    :param own: the rank whose door it is.
    :param simulators: all ranks that a request may name, by number.
    :param models: which models each of them serves.
    """

    _own: int
    _simulators: Mapping[int, ISimulator]
    _models: Mapping[int, IModelCatalogue]

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
        there = evolve(moved(request), adapter=self._models[rank].adapter(model))
        return self._simulators[rank].submit(there, sink, record)
