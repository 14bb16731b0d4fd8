"""A middleware that tells what is in the server's process: ``GET /census``, and ``/census?types`` to count all objects.

Objects are counted only while no thread works. It is for the soak alone, and stands where any plugin does.
"""

import gc
import json
from collections import Counter
from typing import Any, Final

from attrs import frozen
from twisted.plugin import IPlugin
from zope.interface import implementer

from vllmsim.interfaces import IExchange, IMiddleware
from vllmsim.interfaces.plugins import IMiddlewareFactory, Surroundings

_MOST: Final = 400
"""Types that are told, of which there are most."""


@implementer(IMiddleware)
@frozen(eq=False)
class Census:
    """Answers for one path, and lets all others pass.

    :param reactor: the daemon's.
    """

    reactor: Any

    def begin(self, exchange: IExchange) -> None:
        """Answer."""
        if exchange.path != b"/census":
            return
        told: dict[str, Any] = {
            "calls": len(self.reactor.getDelayedCalls()),
            "readers": len(self.reactor.getReaders()),
            "writers": len(self.reactor.getWriters()),
        }
        # A tuple that a thread is just making breaks when somebody else has hold of it, as a list of all objects has.
        if exchange.uri.endswith(b"?types") and not self.reactor.getThreadPool().working:
            gc.collect()
            types = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
            told["types"] = dict(types.most_common(_MOST))
        exchange.answer(200, json.dumps(told).encode())

    def end(self, exchange: IExchange) -> None:
        """Do nothing."""


@implementer(IPlugin, IMiddlewareFactory)
@frozen
class CensusFactory:
    """Makes one."""

    name: str = "census"
    help: str = "Tells what is in the process."

    def create(self, surroundings: Surroundings) -> Census:
        """Make one."""
        return Census(surroundings.clock)


census = CensusFactory()
