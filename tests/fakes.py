"""Stand-ins for the interfaces, for tests that look at one room alone."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from zope.interface import implementer

from vllmsim.faults import Facts, Fault
from vllmsim.inference import (
    Adapter,
    Answer,
    Composition,
    Extent,
    HashedPrompt,
    InferenceRequest,
    Prefill,
    SequenceTimes,
    TextPrompt,
    TokenizedPrompt,
    Tokens,
)
from vllmsim.interfaces import (
    IAdapterMetrics,
    IAdapterSlots,
    IComposer,
    IEmbedder,
    IFailure,
    IHttpMetrics,
    IKVCache,
    ILatencyModel,
    IRankMetrics,
    IResponseSource,
    ISequenceBlocks,
    ISimulator,
    ITokenizer,
    ITokenSink,
)
from vllmsim.models import ModelCatalogue
from vllmsim.records import RequestRecord
from vllmsim.sampling import Sampling
from vllmsim.structure import Form, Parsing
from vllmsim.web.failing import Failing
from vllmsim.web.request import Request


def in_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Run a function here and now, in the place of a thread pool."""
    return execute(function, *arguments)


def request_for(*texts: str, n: int = 1, **sampling: Any) -> InferenceRequest:
    """Make a request that continues some texts."""
    prompts = tuple(map(TextPrompt, texts or ("hello",)))
    return InferenceRequest("r1", named_by_client=False, model="m", prompts=prompts, sampling=Sampling(n=n, **sampling))


def prefilled(prompts: Sequence[TokenizedPrompt], cached: int = 0) -> Prefill:
    """Tell that the first of some prompts is computed, but for what was cached."""
    return Prefill(len(prompts[0].ids) if prompts else 0, cached)


@implementer(ITokenSink)
@define(eq=False)
class RecordingSink:
    """Remembers every call, in order."""

    calls: list[tuple[Any, ...]] = field(factory=list)
    broken: bool = False

    def started(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> None:
        """Remember the prompts' lengths."""
        self.calls.append(("started", [len(prompt.ids) for prompt in prompts]))

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Remember the pieces of text, and the reason with the last."""
        if self.broken:
            raise RuntimeError("the sink is broken")
        self.calls.append((choice, list(answer.pieces[start:stop])))
        if stop == len(answer):
            self.calls.append((choice, answer.finish_reason))

    def said(self, choice: int = 0) -> str:
        """Join what one choice said."""
        return "".join(
            piece for c, pieces, *_ in self.calls if c == choice and isinstance(pieces, list) for piece in pieces
        )


@implementer(IResponseSource)
@define(eq=False)
class FixedSource:
    """Says the same words to everyone, up to the limit."""

    words: Sequence[str]
    asked: list[Extent] = field(factory=list)

    def respond(
        self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random
    ) -> Deferred[Tokens]:
        """Say the words."""
        self.asked.append(extent)
        words = list(self.words[: extent.most])
        return succeed(Tokens([len(word) for word in words], words))


@implementer(IResponseSource)
@define(eq=False)
class SlowSource:
    """Answers when the test says."""

    composing: Deferred[Tokens]

    def respond(
        self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random
    ) -> Deferred[Tokens]:
        """Begin to compose."""
        return self.composing


@implementer(IComposer)
@define(eq=False)
class PlainComposer:
    """Has a source say everything, whatever the form."""

    source: Any

    async def compose(
        self, prompt: TokenizedPrompt, model: str, form: Form, extent: Extent, generator: random.Random
    ) -> Composition:
        """Ask the source."""
        return Composition(await self.source.respond(prompt, model, extent, generator))

    def speaking(self, tokenizer: ITokenizer) -> "PlainComposer":
        """Say the same, in whatever tokens."""
        return self


@implementer(ILatencyModel)
@define(eq=False)
class FixedLatency:
    """Takes its time from a list of gaps, over and over."""

    prefill: float = 0.0
    gaps: Sequence[float] = (0.0,)
    seen: list[int] = field(factory=list)
    image: float = 0.0
    asked: list[tuple[int, int, bool]] = field(factory=list)

    @property
    def instant(self) -> bool:
        """Whether no gap takes any time."""
        return not any(self.gaps)

    def time_to_first_token(
        self, prompt_tokens: int, cached_tokens: int, remote: bool, running: int, generator: random.Random
    ) -> float:
        """Return the prefill's time."""
        self.seen.append(running)
        self.asked.append((prompt_tokens, cached_tokens, remote))
        return self.prefill

    def inter_token_latency(self, running: int, generator: random.Random) -> float:
        """Return the next gap."""
        self.gaps = [*self.gaps[1:], self.gaps[0]]
        return self.gaps[-1]

    def image_latency(self, generator: random.Random) -> float:
        """Return the image's time."""
        return self.image


@implementer(ISequenceBlocks)
@define(eq=False)
class RecordedBlocks:
    """Remembers how a sequence's blocks grow, and whether they are given back."""

    prefill: Prefill
    grown: list[int] = field(factory=list)
    released: int = 0

    def grow(self, tokens: int) -> None:
        """Remember the number of tokens."""
        self.grown.append(tokens)

    def release(self) -> None:
        """Remember that they are given back."""
        self.released += 1


@implementer(IKVCache)
@define(eq=False)
class GivenCache:
    """Gives every sequence blocks with a prefill of the test's choice, at once or when the test says so.

    :param prefill: what is told of where the prompt's tokens come from.
    """

    prefill: Prefill
    full: bool = False
    capacity: int | None = None
    asked: list[tuple[Any, ...]] = field(factory=list)
    given: list[RecordedBlocks] = field(factory=list)
    turns: list[Deferred[Any]] = field(factory=list)
    resets: list[bool] = field(factory=list)
    forgotten: list[Adapter] = field(factory=list)
    occupied: list[float] = field(factory=list)
    hashing: Deferred[None] | None = None
    """What hashing waits for, if it takes time."""
    usage: float = 0.0
    blocks: tuple[int, int] = (0, 0)

    @property
    def running(self) -> int:
        """Count those who have blocks."""
        return sum(not blocks.released for blocks in self.given)

    async def hash(self, prompt: TokenizedPrompt, request: InferenceRequest) -> HashedPrompt:
        """Hash nothing, in its time."""
        if self.hashing is not None:
            await self.hashing
        return HashedPrompt(prompt.ids)

    def allocate(self, prompt: HashedPrompt, answer: Sequence[int], reads: bool, remote_tokens: int) -> Deferred[Any]:
        """Give blocks, or have the sequence wait for :meth:`give`."""
        self.asked.append((list(prompt.ids), list(answer), reads, remote_tokens))
        self.turns.append(Deferred(self.turns.remove))
        turn = self.turns[-1]
        if not self.full:
            self.give()
        return turn

    def give(self) -> None:
        """Give blocks to who has waited longest."""
        self.given.append(RecordedBlocks(self.prefill))
        self.turns.pop(0).callback(self.given[-1])

    def reset(self, running: bool) -> bool:
        """Remember."""
        self.resets.append(running)
        return True

    def forget(self, adapter: Adapter) -> None:
        """Remember."""
        self.forgotten.append(adapter)

    def occupy(self, share: float) -> float:
        """Remember."""
        self.occupied.append(share)
        return share


@implementer(IAdapterSlots)
@define(eq=False)
class GivenAdapters:
    """So many slots for adapters, which are there from then on at which the test says; who is in one is remembered."""

    slots: int = 1
    ready: float = 0.0
    users: dict[str, int] = field(factory=dict)
    """How many use each adapter that is in a slot, in the order of their coming."""
    settled: list[str] = field(factory=list)
    evicted: list[Callable[[Adapter], object]] = field(factory=list)

    def holds(self, adapter: Adapter) -> bool:
        """Look who is in."""
        return adapter.name in self.users

    def loadable(self) -> bool:
        """Count those in use."""
        return sum(map(bool, self.users.values())) < self.slots

    def occupy(self, adapter: Adapter) -> float:
        """Let an adapter in, in the place of the first that is not in use if there has to be."""
        if adapter.name not in self.users and len(self.users) >= self.slots:
            idle = next(name for name, users in self.users.items() if not users)
            del self.users[idle]
            for each in self.evicted:
                each(adapter_of(idle))
        self.users[adapter.name] = self.users.get(adapter.name, 0) + 1
        return self.ready

    def release(self, adapter: Adapter) -> None:
        """Use it less."""
        self.users[adapter.name] -= 1

    def settle(self, adapter: Adapter) -> None:
        """Remember."""
        self.settled.append(adapter.name)

    def clear(self) -> None:
        """Have those that are not in use go."""
        for name in [name for name, users in self.users.items() if not users]:
            del self.users[name]
            for each in self.evicted:
                each(adapter_of(name))

    def watch(self, evicted: Callable[[Adapter], object]) -> None:
        """Remember who wants to hear."""
        self.evicted.append(evicted)


def adapter_of(name: str) -> Adapter:
    """Make the adapter of a name such as ``a3``, whose number is 3."""
    return Adapter(name, f"/{name}", "m", int(name[1:]))


@implementer(IRankMetrics, IAdapterMetrics, IHttpMetrics)
@define(eq=False)
class RecordingMetrics:
    """Remembers what it hears."""

    heard: list[tuple[Any, ...]] = field(factory=list)

    def sequence_queued(self) -> None:
        """Remember."""
        self.heard.append(("queued",))

    def sequence_unqueued(self) -> None:
        """Remember."""
        self.heard.append(("unqueued",))

    def sequence_started(self) -> None:
        """Remember."""
        self.heard.append(("started",))

    def sequence_preempted(self) -> None:
        """Remember."""
        self.heard.append(("preempted",))

    def sequence_resumed(self) -> None:
        """Remember."""
        self.heard.append(("resumed",))

    def transfer_started(self) -> None:
        """Remember."""
        self.heard.append(("fetching",))

    def transfer_finished(self, prefill: Prefill, seconds: float) -> None:
        """Remember."""
        self.heard.append(("fetched", prefill.external, seconds))

    def transfer_aborted(self) -> None:
        """Remember."""
        self.heard.append(("fetch given up",))

    def prefill_finished(self, prefill: Prefill, since_arrival: float) -> None:
        """Remember."""
        self.heard.append(("prefilled", prefill.tokens, since_arrival))

    def tokens_emitted(self, count: int, gap: float | None) -> None:
        """Remember."""
        self.heard.append(("emitted", count, gap))

    def draft_verified(self, drafted: int, accepted: int) -> None:
        """Remember."""
        self.heard.append(("verified", drafted, accepted))

    def iteration_finished(self) -> None:
        """Remember."""
        self.heard.append(("iteration",))

    def sequence_finished(
        self,
        reason: str,
        prefill: Prefill,
        generated_tokens: int,
        max_tokens: int,
        times: SequenceTimes,
        preemptions: int,
    ) -> None:
        """Remember."""
        self.heard.append(("finished", reason, generated_tokens, max_tokens, times))
        if preemptions:
            self.heard.append(("preemptions", preemptions))

    def answer_parsed(self, parsing: Parsing, answer: Answer) -> None:
        """Remember."""
        self.heard.append(("parsed", parsing, len(answer)))

    def media_looked_up(self, items: int, hits: int) -> None:
        """Remember."""
        self.heard.append(("media", items, hits))

    def admission_rejected(self, limit: str) -> None:
        """Remember."""
        self.heard.append(("rejected", limit))

    def sleep_level_changed(self, level: int | None) -> None:
        """Remember."""
        self.heard.append(("sleep", level))

    def sequence_aborted(self) -> None:
        """Remember."""
        self.heard.append(("aborted",))

    def sequences_changed(self, name: str, waiting: int, running: int) -> None:
        """Remember."""
        self.heard.append(("adapter", name, waiting, running))

    def slots_changed(self, gpu: int, memory: int) -> None:
        """Remember."""
        self.heard.append(("slots", gpu, memory))

    def adapter_loaded(self, seconds: float) -> None:
        """Remember."""
        self.heard.append(("loaded", seconds))

    def adapter_evicted(self, place: str) -> None:
        """Remember."""
        self.heard.append(("evicted", place))

    def operation_began(self, operation: str) -> Callable[[], object]:
        """Remember."""
        self.heard.append(("began", operation))
        return lambda: self.heard.append(("ended", operation))

    def dataset_asked(self, dataset: str, result: str, trouble: str | None) -> None:
        """Remember."""
        self.heard.append(("dataset", dataset, result, trouble))

    def prompt_finished(self, n: int, longest: int) -> None:
        """Remember."""
        self.heard.append(("prompt", n, longest))

    def exchange_finished(
        self, route: str, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """Remember."""
        self.heard.append((route, method, status, seconds, request_bytes, response_bytes))

    def names(self) -> list[str]:
        """List what was heard, without details."""
        return [each[0] for each in self.heard]


@implementer(ISimulator)
@define(eq=False)
class ScriptedSimulator:
    """Does to each request what the test says.

    :param script: takes the request and the sink; what it raises is the request's error.
    """

    script: Callable[[InferenceRequest, ITokenSink], Deferred[None] | None]
    requests: list[InferenceRequest] = field(factory=list)

    def submit(
        self, request: InferenceRequest, sink: ITokenSink, record: RequestRecord | None = None
    ) -> Deferred[None]:
        """Run the script."""
        self.requests.append(request)
        served: Deferred[None] = Deferred()
        try:
            result = self.script(request, sink)
        except Exception:  # noqa: BLE001 - the script's errors are the test's
            served.errback()
            return served
        return result if isinstance(result, Deferred) else succeed(None)


@implementer(IEmbedder)
@define(eq=False)
class CountingEmbedder:
    """Makes vectors whose numbers are how many words there are, and remembers the words."""

    seen: list[list[str | int]] = field(factory=list)

    def embed(self, tokens: Sequence[str | int], dimensions: int) -> Deferred[Sequence[float]]:
        """Count the words."""
        self.seen.append(list(tokens))
        return succeed([float(len(tokens))] * dimensions)

    def compare(self, tokens: Sequence[str | int], others: Sequence[Sequence[str | int]]) -> Deferred[Sequence[float]]:
        """Count the words that are in both."""
        self.seen.append(list(tokens))
        return succeed([float(len({*tokens} & {*other})) for other in others])


class TurningClock(Clock):
    """A clock that takes turns as a reactor does: what is asked for in one is done in the next."""

    def turn(self) -> None:
        """Do what is due."""
        calls, self.calls = self.calls, []
        for call in calls:
            if call.active() and call.getTime() <= self.rightNow:
                call.called = 1
                call.func(*call.args, **call.kw)
            elif call.active():
                self.calls.append(call)
        self._sortCalls()


@define(eq=False)
class Ticker:
    """Emits at the gaps it is given, and remembers when."""

    clock: Clock
    gaps: list[float]
    due: float = 0.0
    slow: float = 0.0
    emitted: list[float] = field(factory=list)
    failed: list[Failure] = field(factory=list)
    error: Exception | None = None
    leave: Callable[[], object] | None = None

    def emit(self, now: float) -> float | None:
        """Emit everything that is due."""
        if self.leave is not None:
            self.leave()
        if self.error is not None:
            raise self.error
        while self.due <= now:
            self.emitted.append(round(now, 6))
            if not self.gaps:
                return None
            self.due += self.gaps.pop(0)
        if self.slow:
            self.clock.rightNow += self.slow
        return self.due

    def fail(self, reason: Failure) -> None:
        """Remember the failure."""
        self.failed.append(reason)


@implementer(IFailure)
@define(eq=False)
class FixedFailure:
    """Has every request fail in one way, or none.

    :param fault: how.
    """

    fault: Fault | None = None

    @property
    def active(self) -> bool:
        """Whether there is a way."""
        return self.fault is not None

    def consider(self) -> Callable[[Facts], Fault | None]:
        """Have it fail."""
        return lambda _: self.fault


def unfailing(defer_to_thread: Callable[..., Deferred[Any]] = in_thread) -> Failing:
    """Make what reads requests, of which none fails."""
    return Failing(Clock(), FixedFailure(), ModelCatalogue("m1", ("m1",)), defer_to_thread)


class Routeless(Resource):
    """What serves requests whatever their paths."""

    isLeaf = True

    def locate(self, request: Request) -> None:
        """Know nothing of it."""
