# -*- test-case-name: tests.test_interfaces -*-
"""What can be replaced, and what callers may assume.

Times are seconds, lengths are tokens, and every Deferred may be cancelled unless it says otherwise. What is just
awaitable is a coroutine where that is enough: who awaits it need not wait for a reactor.
"""

from vllmsim.interfaces.answers import IComposer, IEmbedder, ILatencyModel, IResponseSource, ITokenizer
from vllmsim.interfaces.blocks import (
    IBlockEventLog,
    IBlockEventOutlet,
    IBlockEventPublisher,
    IBlockListener,
    IBlockStore,
    IKVCache,
    IPrefixCache,
    ISequenceBlocks,
)
from vllmsim.interfaces.faults import IFailure, IFailureBook
from vllmsim.interfaces.metrics import (
    IAdapterMetrics,
    IBlockStoreMetrics,
    ICacheMetrics,
    IFailureMetrics,
    IHttpMetrics,
    IRankMetrics,
)
from vllmsim.interfaces.middleware import IDoorkeeper, IExchange, IMiddleware
from vllmsim.interfaces.models import IAdapterRegistry, IAdapterSlots, IModelCatalogue
from vllmsim.interfaces.operating import (
    IConfigurations,
    IHealth,
    IJournal,
    ILoads,
    IRankControl,
    IRequestObserver,
    IScenarios,
    ITimeControl,
    PauseMode,
)
from vllmsim.interfaces.serving import IAdmission, IPooler, ISimulator, ITokenSink
from vllmsim.interfaces.steps import IEngineTrace, IStepBlocks, IStepCache, IStepTime

__all__ = [
    "IAdapterMetrics",
    "IAdapterRegistry",
    "IAdapterSlots",
    "IAdmission",
    "IBlockEventLog",
    "IBlockEventOutlet",
    "IBlockEventPublisher",
    "IBlockListener",
    "IBlockStore",
    "IBlockStoreMetrics",
    "ICacheMetrics",
    "IComposer",
    "IConfigurations",
    "IDoorkeeper",
    "IEmbedder",
    "IEngineTrace",
    "IExchange",
    "IFailure",
    "IFailureBook",
    "IFailureMetrics",
    "IHealth",
    "IHttpMetrics",
    "IJournal",
    "IKVCache",
    "ILatencyModel",
    "ILoads",
    "IMiddleware",
    "IModelCatalogue",
    "IPooler",
    "IPrefixCache",
    "IRankControl",
    "IRankMetrics",
    "IRequestObserver",
    "IResponseSource",
    "IScenarios",
    "ISequenceBlocks",
    "ISimulator",
    "IStepBlocks",
    "IStepCache",
    "IStepTime",
    "ITimeControl",
    "ITokenSink",
    "ITokenizer",
    "PauseMode",
]
