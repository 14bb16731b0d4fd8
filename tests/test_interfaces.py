"""The stand-ins of these tests are what they stand for."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests import fakes
from vllmsim import interfaces


class FakeTests(SynchronousTestCase):
    """Every fake provides its interface."""

    def test_provide(self) -> None:
        """The fakes can take the place of the real ones."""
        verifyObject(interfaces.ITokenSink, fakes.RecordingSink())
        verifyObject(interfaces.IResponseSource, fakes.FixedSource([]))
        verifyObject(interfaces.ILatencyModel, fakes.FixedLatency())
        verifyObject(interfaces.IRankMetrics, fakes.RecordingMetrics())
        verifyObject(interfaces.IAdapterMetrics, fakes.RecordingMetrics())
        verifyObject(interfaces.IAdapterSlots, fakes.GivenAdapters())
        verifyObject(interfaces.IHttpMetrics, fakes.RecordingMetrics())
        verifyObject(interfaces.IEmbedder, fakes.CountingEmbedder())
        verifyObject(interfaces.ISimulator, fakes.ScriptedSimulator(lambda *_: None))
