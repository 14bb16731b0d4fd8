"""Doors of ranks that have a port each."""

from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import ScriptedSimulator
from tests.parallel.asking import OTHER, OWN, asking
from vllmsim.errors import UnknownModel
from vllmsim.interfaces import ISimulator
from vllmsim.models import ModelCatalogue
from vllmsim.parallel.pinning import Behaviours, PinnedSimulator
from vllmsim.records import RequestRecord


class PinningTests(SynchronousTestCase):
    """Where requests go."""

    def setUp(self) -> None:
        """Have the door of rank 4, beside ranks 3 and 5."""
        self.simulators = {number: ScriptedSimulator(lambda *_: None) for number in (3, 4, 5)}
        self.models = {number: ModelCatalogue("m", ("m",)) for number in self.simulators}
        self.usual: dict[int, object] = {3: OTHER, 4: OWN, 5: OTHER}
        behaviours = Behaviours({number: partial(self.usual.__getitem__, number) for number in self.usual})
        self.door = PinnedSimulator(4, self.simulators, self.models, behaviours)
        self.sink: Any = object()

    def served(self) -> dict[int, list[str]]:
        """Tell which requests each rank has got."""
        return {number: [each.request_id for each in one.requests] for number, one in self.simulators.items()}

    def test_provides(self) -> None:
        """It is a door like a rank's own."""
        verifyObject(ISimulator, self.door)

    def test_ranks(self) -> None:
        """A request goes to the rank that it names, else to the port's own, and is served as is usual there."""
        for name, rank in (("a", 3), ("b", 4), ("c", 5), ("d", None)):
            record = RequestRecord("/v1/completions", rank=4)
            self.successResultOf(self.door.submit(asking(name, rank), self.sink, record))
            self.assertEqual(4 if rank is None else rank, record.rank)
        self.assertEqual({3: ["a"], 4: ["b", "d"], 5: ["c"]}, self.served())
        self.assertEqual([OTHER, OWN, OTHER], [each.requests[0].behaviour for each in self.simulators.values()])

    def test_changes(self) -> None:
        """A request that was read before something changed is served as what held then, wherever that is."""
        self.usual.update({3: object(), 4: object()})
        for rank in (3, 4):
            self.successResultOf(self.door.submit(asking("a", rank), self.sink))
            self.assertIs(OWN, self.simulators[rank].requests[0].behaviour)

    def test_adapters(self) -> None:
        """A request whose adapter the other rank has not is told so; it is not served as the base model."""
        self.models[5].add("painter", "/p", None)
        self.models[4].add("poet", "/p", None)
        self.models[5].add("poet", "/p", None)
        self.successResultOf(self.door.submit(asking("a", 5, "poet"), self.sink))
        refused = self.failureResultOf(self.door.submit(asking("b", 3, "poet"), self.sink), UnknownModel)
        self.assertIn("poet", refused.value.message)
        self.assertEqual({3: [], 4: [], 5: ["a"]}, self.served())
        [there] = self.simulators[5].requests
        self.assertEqual((self.models[5].adapter("poet"), 2), (there.adapter, there.adapter and there.adapter.number))
