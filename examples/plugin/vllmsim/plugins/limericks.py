"""What vllmsim finds: three plugins, whose code is imported when a configuration wants them."""

from twisted.plugin import IPlugin
from vllmsim.interfaces import ILatencyModel, IResponseSource, IStepTime
from vllmsim.interfaces.plugins import (
    ILatencyModelFactory,
    IResponseSourceFactory,
    IStepTimeFactory,
    LatencySurroundings,
    SourceSurroundings,
    StepTimeSurroundings,
)
from zope.interface import implementer


@implementer(IPlugin, IResponseSourceFactory)
class Limericks:
    """For ``--mode limericks``."""

    name = "limericks"
    help = "Answers in limericks about what it was asked; its option verses is a list of others."

    def create(self, surroundings: SourceSurroundings) -> IResponseSource:
        """Make what answers."""
        from vllmsim_limericks.answers import LimerickSource  # noqa: PLC0415

        return LimerickSource(surroundings)


@implementer(IPlugin, ILatencyModelFactory)
class Lognormal:
    """For ``--latency-calculator lognormal``."""

    name = "lognormal"
    help = "Takes usual times, some much longer; its option sigma, from 0 to 2, says how much."

    def create(self, surroundings: LatencySurroundings) -> ILatencyModel:
        """Make what takes time."""
        from vllmsim_limericks.times import LognormalLatency  # noqa: PLC0415

        return LognormalLatency(surroundings)


@implementer(IPlugin, IStepTimeFactory)
class Padded:
    """For ``--step-time padded``."""

    name = "padded"
    help = "Takes the usual time of a batch that is filled up to one of sizes, its option."

    def create(self, surroundings: StepTimeSurroundings) -> IStepTime:
        """Make what tells how long steps take."""
        from vllmsim_limericks.steps import PaddedStepTime  # noqa: PLC0415

        return PaddedStepTime(surroundings)


limericks = Limericks()
lognormal = Lognormal()
padded = Padded()
