# -*- test-case-name: tests.test_interfaces -*-
"""What can be replaced, and what callers may assume.

Times are seconds, lengths are tokens, and every Deferred may be cancelled unless it says otherwise. What is just
awaitable is a coroutine where that is enough: who awaits it need not wait for a reactor.
"""

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from vllmsim.faults import Facts, FailureReport, Fault
from vllmsim.inference import (
    Adapter,
    Answer,
    Composition,
    Conversation,
    Cut,
    Extent,
    HashedPrompt,
    InferenceRequest,
    Prefill,
    Prompt,
    SequenceTimes,
    StoredBlocks,
    TextPrompt,
    TokenizedPrompt,
    Tokens,
)
from vllmsim.pooling import Pooled, PoolingRequest
from vllmsim.records import HttpFacts, RequestRecord
from vllmsim.sampling import Sampling
from vllmsim.structure import Form, Parsing

PauseMode: TypeAlias = Literal["abort", "wait", "keep"]
"""What happens to sequences that run when a rank stops to generate: they end now, come to their end, or stand still."""


class ITokenSink(Interface):
    """Takes one request's tokens as they become due. Called on the reactor thread, from the pacer's tick.

    An exception from any method fails the request, and no other.
    """

    def started(prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> None:
        """Learn that the first token is due. Called once, before any `tokens`.

        :param prompts: the request's prompts, in order.
        :param prefill: how the prompt of the choice that begins was computed.
        """

    def tokens(choice: int, answer: Answer, start: int, stop: int) -> None:
        """Deliver the tokens `start` to `stop` of a choice.

        Runs of one choice come in order and without gaps; runs of several choices interleave. When `stop` is
        ``len(answer)`` the choice is complete and ``answer.finish_reason`` holds. A choice that is aborted ends with a
        run of no tokens and an answer of just those that were delivered before, which may be none.

        :param choice: which choice, from 0.
        :param answer: the same object at each call for one choice, but for the end of one that is aborted.
        """


class ISimulator(Interface):
    """One data-parallel rank, seen from the delivery side: the only door in."""

    def submit(request: InferenceRequest, sink: ITokenSink, record: RequestRecord | None = None) -> Deferred[None]:
        """Serve a request.

        :param record: is told what becomes of it.
        :return: fires when the last token of every choice has been delivered. Its errback is an
            :class:`vllmsim.errors.InferenceError` for what the client should be told; the sink may have been
            started by then. Cancelling it frees every slot and queue place at once, and the sink hears no more.
        """


class IRankControl(Interface):
    """One data-parallel rank, seen by who operates it. Nothing here waits for clients."""

    def abort(ids: Collection[str]) -> int:
        """End requests with what they have said.

        :param ids: ids of answers, with or without their prefix; ``cmpl-X-1`` is the second prompt of ``cmpl-X``. An
            empty collection means every request. One whose prompts are still being read is not there yet.
        :return: how many requests were ended, wholly or in part.
        """

    def pause(mode: PauseMode, clear_cache: bool) -> Deferred[None]:
        """Let no request in until :meth:`resume`.

        :param clear_cache: forget what the prefix cache has, once nothing runs.
        :return: fires when nothing runs, or at once if what runs is kept.
        """

    def resume() -> None:
        """Go on after :meth:`pause`: let requests in, and let what was kept continue where it was."""

    def paused() -> bool:
        """Tell whether the rank is paused."""

    def sleep(level: int, mode: PauseMode) -> Deferred[None]:
        """Fall asleep, if the rank may: until :meth:`wake_up` it lets no request in.

        :param level: 0 to keep everything, 1 to move the weights out, 2 to throw them away.
        :return: fires when nothing runs, or at once if what runs is kept.
        """

    def wake_up(tags: Collection[str]) -> None:
        """Bring back some of what sleeps; the rank is awake when nothing does.

        :param tags: what to bring back, of ``weights`` and ``kv_cache``; none for all.
        """

    def sleeping() -> bool:
        """Tell whether the rank is asleep, or still in part."""

    def in_flight() -> int:
        """Count the requests that have come and are not answered yet."""

    def reset_prefix_cache(reset_running_requests: bool, reset_external: bool) -> Deferred[bool]:
        """Forget what the prefix cache has.

        :param reset_running_requests: do so even when sequences use it.
        :param reset_external: have the cache outside this server forget too.
        :return: fires with whether all of that is forgotten; it is not where no cache is outside, and should forget.
        """

    def reset_media_cache() -> None:
        """Forget which media were read."""


class IScenarios(Interface):
    """Scenarios, seen by who starts and stops them. One is played at a time."""

    def start(text: bytes, *, json: bool, rank: int | None, replace: bool) -> Awaitable[None]:
        """Read a scenario, check all of it, and begin it.

        Awaiting raises :class:`vllmsim.errors.InvalidRequest` with everything that is wrong with it, and
        :class:`vllmsim.errors.Conflict` when one is played.

        :param json: whether the text is JSON, or else YAML.
        :param rank: the data-parallel rank that it is for; None for what it says itself.
        :param replace: stop the one that is played first.
        """

    def stop() -> Awaitable[bool]:
        """Stop the scenario that is played, and have back what was before, unless it says otherwise.

        Awaiting gives whether there was one.
        """

    def describe() -> Mapping[str, Any]:
        """Tell what is played, or was last: what JSON can say."""


class IHealth(Interface):
    """How a rank is, as probes see it. Whatever they see, requests are served."""

    healthy = Attribute("bool: whether it is to be called alive; may be set.")
    willing = Attribute("bool: whether it is to be called ready, if it is; may be set.")

    def ready() -> bool:
        """Tell whether a load balancer should send requests here: the rank is loaded, serving, healthy and willing."""


class IConfigurations(Interface):
    """The configurations of all ranks of a server, wherever these run, seen by who changes them while they do.

    Ranks change together unless one is named. A change is there whole or not at all: every configuration that it would
    lead to is checked before any holds. When one has been awaited, all ranks have it.

    Awaiting raises :class:`vllmsim.errors.InvalidRequest` with everything that is wrong, or when there is no such rank,
    and :class:`vllmsim.errors.Unavailable` when a rank or who knows of all does not answer.
    """

    def describe(rank: int) -> Awaitable[Mapping[str, Any]]:
        """Show what holds for a rank.

        :return: by option name, the effective values as a file would have them, sorted; no secrets.
        """

    def change(
        values: Mapping[str, object], rank: int | None, who: str, *, step: bool = False, whole: bool = False
    ) -> Awaitable[None]:
        """Change options.

        :param values: by option name, the new values as a file would have them; None leaves one as it is.
        :param rank: the one to change; None for all.
        :param who: says in the log, and in the history, who did it.
        :param step: whether it goes on with the last change, if that was a step of the same author: then both are
            undone as one, and the log does not tell of each.
        :param whole: whether None takes a value away, and values that could change in part change as a whole.
        """

    def undo(who: str) -> Awaitable[None]:
        """Have all ranks have again what they had before the latest change that is not undone.

        Awaiting raises :class:`vllmsim.errors.Conflict` when there is none.
        """

    def history() -> Awaitable[Sequence[Mapping[str, Any]]]:
        """Tell what has changed.

        :return: the latest first, of each change ``when`` in seconds since the epoch, ``who``, ``what`` was done
            (``change``, ``undo`` or ``reload``), and as ``changes`` each ``option``, its ``old`` and ``new`` value, and
            the ``ranks`` where it changed so.
        """


class IPooler(Interface):
    """One data-parallel rank, seen by those who want vectors and scores."""

    def pool(request: PoolingRequest, record: RequestRecord | None = None) -> Deferred[Sequence[Pooled]]:
        """Serve a request.

        :param record: is told what becomes of it.
        :return: fires with what became of each input, or of each pair when the task is ``score``. Its errback is an
            :class:`vllmsim.errors.InferenceError` for what the client should be told. Cancelling it frees every slot
            and queue place at once.
        """


class IJournal(Interface):
    """What remembers the requests of one rank: those that are under way, and so many of those that have ended."""

    dropped = Attribute("int: how many requests that had ended were forgotten to make room for others.")
    number = Attribute("int: how many requests have come.")

    def begin(route: str, http: HttpFacts | None) -> RequestRecord | None:
        """Begin to remember a request.

        :param route: the template of the path that it came on, or the method of another protocol.
        :param http: what it is over HTTP, with its whole body, of which no more is kept than the operator wants.
        :return: its record; None if none is wanted.
        """

    def end(record: RequestRecord, *, gone: bool = False) -> None:
        """Learn that a request has come to its end. Nobody changes its record any more.

        :param gone: whether the client left before its answer was complete.
        """

    def records() -> list[RequestRecord]:
        """List all requests in the order in which they came. Those that are under way go on to change."""

    def find(name: str) -> RequestRecord | None:
        """Find one request; the last of several.

        :param name: the id of its answer, with or without its prefix, or its number.
        """

    def forget() -> int:
        """Forget all that have ended.

        :return: how many they were.
        """

    def ended(wanted: Callable[[RequestRecord], bool], count: int, timeout: float) -> Deferred[None]:
        """Wait until so many of the requests that somebody wants to see have ended.

        :param timeout: seconds after which nobody waits any more.
        :return: fires then, or when the time is over, or the server stops.
        :raises vllmsim.errors.Overloaded: when too many wait already.
        """


class IAdmission(Interface):
    """What happens to a request before it may wait, for those who want to know and not to wait."""

    def read(prompts: Sequence[Prompt], cut: Cut | None) -> Awaitable[Sequence[TokenizedPrompt]]:
        """Tokenize prompts, letting other events in between.

        :param cut: how each is shortened first; fewer than no tokens mean as many as the context holds.
        :return: one for each; awaiting it raises :class:`vllmsim.errors.InvalidRequest` when one is longer than the
            context, or has a token id that is none.
        """

    def bound(prompt: TokenizedPrompt, sampling: Sampling) -> Sampling:
        """Settle how long an answer to a prompt may be, and check everything else.

        :return: the same parameters with `max_tokens` as the context and the request allow, at least 1.
        :raises vllmsim.errors.InvalidRequest: for the first parameter out of range.
        """


class IModelCatalogue(Interface):
    """Which names requests may use."""

    def resolve(name: str | None) -> str:
        """Find the name under which a model answers.

        :param name: what the request says; None or nothing for the base model.
        :return: the first served name, or the adapter's own.
        :raises vllmsim.errors.UnknownModel: when nothing is served under `name`.
        """

    def adapter(name: str) -> Adapter | None:
        """Find the adapter of a name; None for names of the base model, and for one that is served no more."""

    def use(name: str) -> Adapter | None:
        """Find the adapter of a name that :meth:`resolve` gave; None for that of the base model.

        :raises vllmsim.errors.UnknownModel: when it has been unloaded since.
        """

    def cards() -> Sequence[tuple[str, str, str | None]]:
        """List what is served, base names first.

        :return: for each its name, its root path, and the name of its parent, which a base model has not.
        """


class IAdapterRegistry(Interface):
    """The LoRA adapters that requests may use as models. Nothing is read from their paths."""

    def load(name: str, path: str, in_place: bool, *, found: bool = True) -> float:
        """Serve an adapter, and put it into memory.

        :param path: where its weights would be.
        :param in_place: whether it may take the place of one of that name.
        :param found: whether there is anything at the path.
        :return: in how many seconds it is there.
        :raises vllmsim.errors.InvalidUserInput: when the name is taken, or name or path will not do.
        :raises vllmsim.errors.UnknownAdapter: when there is nothing at the path.
        """

    def unload(name: str) -> None:
        """Serve an adapter no more; requests that have been let in go on.

        :raises vllmsim.errors.InvalidUserInput: when there is no name.
        :raises vllmsim.errors.UnknownAdapter: when none has that name.
        """


class IAdapterSlots(Interface):
    """The LoRA adapters that are on the GPU, where a bounded number has a place each. Of adapters the number counts.

    An adapter is in use while a sequence runs with it. One that is in a slot and not in use gives way to others.
    """

    def holds(adapter: Adapter) -> bool:
        """Tell whether an adapter is in a slot."""

    def loadable() -> bool:
        """Tell whether one that is in no slot would get one now: an empty one, or that of an adapter not in use."""

    def occupy(adapter: Adapter) -> float:
        """Use an adapter for one more sequence. It must be in a slot, or :meth:`loadable` be true.

        :return: when its weights are there, by the clock of who made the slots; that may be past.
        """

    def release(adapter: Adapter) -> None:
        """Use it for one sequence fewer."""

    def settle(adapter: Adapter) -> None:
        """Learn that no sequence waits for it: if none runs with it either, and it is unloaded, it is gone."""

    def clear() -> None:
        """Have adapters that are not in use be on disk alone, as if the server had just been started."""

    def watch(evicted: Callable[[Adapter], object]) -> None:
        """Have someone hear of each adapter that loses its slot, while it is in use by nobody."""


class ITokenizer(Interface):
    """Text to tokens and back."""

    eos_id = Attribute("int: the id of the end-of-sequence token.")
    eos_text = Attribute("str: how log probabilities show that token.")
    vocabulary_size = Attribute("int: every id is below it.")

    def read(prompt: TextPrompt | Conversation, limit: int) -> Awaitable[TokenizedPrompt]:
        """Make tokens of what a client sent, without letting the reactor wait for long texts.

        A conversation becomes one text by the chat template, which ends where the answer begins. Special tokens are
        put around a text where the prompt asks for them.

        :param limit: stop after so many tokens.
        :return: awaiting it raises :class:`vllmsim.errors.InvalidRequest` when the template refuses.
        """

    def encode(text: str, limit: int) -> Awaitable[Tokens]:
        """Cut a text that the model says into tokens, without letting the reactor wait for long ones.

        :param limit: stop after so many tokens.
        """

    def texts_of(ids: Sequence[int]) -> Sequence[str]:
        """Tell what each of some tokens adds to the text that they are together.

        :return: one text for each token. A character that is cut over several tokens belongs to the last of them. An
            id that means nothing says nothing.
        """

    def text_of(token: int) -> str | None:
        """Look up one token.

        :return: its text, or None when the id means nothing to this tokenizer.
        """

    def pieces_of(ids: Sequence[int]) -> Sequence[str]:
        """Spell some tokens as the vocabulary does, which may write blanks as something else.

        It may be called in any thread.
        """

    def decode(ids: Sequence[int]) -> Awaitable[str]:
        """Join tokens to text, without letting the reactor wait for many; ids that mean nothing give nothing."""

    def tag(text: str) -> Tokens:
        """Make tokens of a tag such as ``</think>``, or of a name.

        :return: the one token that the vocabulary has for it, or those that its text is cut into; at least one.
        """

    def describe() -> Mapping[str, object]:
        """Tell how the tokenizer was made.

        :return: what JSON can say: the arguments of its making, its ``chat_template`` in Jinja's language if it has
            one, and ``tokenizer_class``.
        """

    def close() -> Awaitable[None]:
        """Give back what was opened; nothing is asked of it any more."""


class IEmbedder(Interface):
    """Turns texts into vectors. Pure: equal texts give equal vectors, in every process and on every machine."""

    def embed(tokens: Sequence[str | int], dimensions: int) -> Deferred[Sequence[float]]:
        """Make the vector of a text, without letting the reactor wait for long ones.

        :param tokens: the texts of its tokens, or their ids; none for the empty text.
        :param dimensions: how many numbers the vector has, at least 1.
        :return: fires with the numbers, each a 32-bit float; the root of the sum of their squares is 1. Texts that
            share words have a larger cosine than texts that do not.
        """

    def compare(tokens: Sequence[str | int], others: Sequence[Sequence[str | int]]) -> Deferred[Sequence[float]]:
        """Compare a text with others.

        :return: fires with a number from 0 to 1 for each: what the cosine of their vectors tends to as the dimensions
            become many.
        """


class IResponseSource(Interface):
    """Decides what an answer says."""

    def respond(prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Awaitable[Tokens]:
        """Compose one choice.

        :param model: the name that the answer carries: the first served name, or an adapter's.
        :param extent: how long it may be.
        :param generator: the choice's own randomness; equal states give equal answers.
        :return: gives the tokens, as many as `extent` allows; fewer than the most mean that the model ends here by
            itself.
        """


class IComposer(Interface):
    """Decides what an answer is made of: reasoning, text, calls of tools."""

    def compose(
        prompt: TokenizedPrompt, model: str, form: Form, extent: Extent, generator: random.Random
    ) -> Awaitable[Composition]:
        """Compose one choice; the arguments are those of :meth:`IResponseSource.respond`.

        :return: gives the whole answer. Fewer than the most tokens mean that the model ends here by itself; more,
            that the limit cuts it.
        :raises vllmsim.errors.InvalidRequest: when it is awaited, if nothing can have the form.
        """


class ILatencyModel(Interface):
    """How long the model takes. Pure: equal arguments and generator states give equal times."""

    instant = Attribute("bool: whether every inter-token latency is zero.")

    def time_to_first_token(
        prompt_tokens: int, cached_tokens: int, remote: bool, running: int, generator: random.Random
    ) -> float:
        """Draw the prefill's duration.

        :param remote: whether another server ran the prefill, so that its KV blocks are fetched instead.
        :param running: sequences in slots now, this one included.
        :return: seconds, at least 0.
        """

    def inter_token_latency(running: int, generator: random.Random) -> float:
        """Draw the gap before the next token.

        :return: seconds, at least 0.
        """

    def image_latency(generator: random.Random) -> float:
        """Draw the time that an image takes after the text.

        :return: seconds, at least 0.
        """


class IFailure(Interface):
    """Decides which requests fail on purpose. Called on the reactor thread, for each request once."""

    active = Attribute(
        "bool: whether any request may fail that does not ask for it with the header X-Return-Error; while none may,"
        " nobody asks about the others."
    )

    def consider() -> Callable[[Facts], Fault | None]:
        """Take what decides now; whatever changes, that holds for a request that comes now.

        :return: decides whether the request fails, once its body has been read: it takes what is known of the request
            and gives what goes wrong with it, or None for nothing. It raises
            :class:`vllmsim.errors.InvalidRequest` when the request asks for an error that cannot be.
        """


class IFailureBook(Interface):
    """Knows which requests have been made to fail."""

    def report() -> FailureReport:
        """Tell how many so far."""

    def reset() -> None:
        """Set all counters to 0, those by which rules decide among them."""


class IFailureMetrics(Interface):
    """Hears of failures on purpose."""

    def failures_expected(failures: Iterable[tuple[str, str]]) -> None:
        """Learn what may happen from now on.

        :param failures: what :meth:`request_failed` may be told, but for failures that requests ask for.
        """

    def request_failed(rule: str, kind: str) -> None:
        """A request was made to fail.

        :param rule: the rule that did it; empty for none.
        :param kind: how.
        """


class IKVCache(Interface):
    """The blocks of one rank's KV cache, seen by those who fill them."""

    capacity = Attribute("int or None: the most tokens that it holds; None for any number.")
    waiting = Attribute("int: how many sequences wait for blocks.")
    usage = Attribute("float: the share of blocks that sequences have, from 0 to 1.")

    def hash(prompt: TokenizedPrompt, request: InferenceRequest) -> Awaitable[HashedPrompt]:
        """Hash a prompt's full blocks, and find out how many of them a cache outside has.

        Other events are let in while a long prompt is hashed.
        """

    def allocate(
        prompt: HashedPrompt, answer: Sequence[int], reads: bool, remote_tokens: int
    ) -> "Deferred[ISequenceBlocks]":
        """Take the blocks of a prompt: those that have its prefix already, and others.

        :param answer: the ids of all tokens that will be generated.
        :param reads: whether blocks that have its prefix may be used.
        :param remote_tokens: how many tokens of the prompt are fetched from the server that ran its prefill.
        :return: fires when there is room for the prompt and the whole answer; who asks first is first. Cancelling
            gives the turn up. With prompt and answer longer than `capacity` it would never fire.
        """

    def reset(running: bool) -> bool:
        """Forget what blocks hold.

        :param running: do so even when sequences have blocks; what they have computed is known again at once, as if
            they had been preempted and had computed it anew.
        :return: whether it is forgotten.
        """

    def forget(adapter: Adapter) -> None:
        """Learn that an adapter is served no more: its blocks are the first that others get."""

    def occupy(share: float) -> float:
        """Have a share of the blocks used by nobody, until another is named.

        What is free is used at once, and the rest as sequences give blocks back, before those that wait get any. What
        the blocks hold is forgotten.

        :param share: from 0 to 1.
        :return: the same, or less where a sequence of the longest possible prompt and answer would find no room then. 0
            where there are no blocks.
        """


class ISequenceBlocks(Interface):
    """The KV blocks of one sequence."""

    prefill = Attribute("Prefill: where the prompt's tokens come from.")

    def grow(tokens: int) -> None:
        """Learn how many tokens of prompt and answer are computed, and take the blocks that these need.

        :param tokens: at least as many as before.
        """

    def release() -> None:
        """Give the blocks back; they keep what they hold until others need them. Harmless when it is done."""


class IBlockListener(Interface):
    """Hears what happens to the blocks of a KV cache, in order. No method may raise."""

    def stored(blocks: StoredBlocks) -> None:
        """Blocks became full and can be found by their hashes.

        Several blocks may have the same hash; each is told.
        """

    def removed(digest: bytes) -> None:
        """A block with this hash was given to another sequence."""

    def cleared() -> None:
        """No block can be found any more."""


class IBlockEventPublisher(Interface):
    """Takes batches of KV events, written and numbered, in order. Called on the reactor thread."""

    def publish(sequence: int, payload: bytes, events: int) -> None:
        """Take a batch. Must neither raise nor wait.

        :param sequence: its number, from 0 and without gaps.
        :param payload: what subscribers get, after topic and number.
        :param events: how many events are in it.
        """


class IBlockStore(Interface):
    """A cache of KV blocks outside this server, which several servers share. Of blocks it knows the hashes alone.

    Nothing here fails: a store that cannot be reached has nothing and keeps nothing, and says so in the log once.
    """

    def start() -> None:
        """Begin to reach for it. Nobody waits until it is there."""

    def stop() -> Deferred[None]:
        """Leave it.

        :return: fires when no connection and no timer is left.
        """

    def lookup(hashes: Sequence[bytes]) -> Awaitable[int | None]:
        """Find out how many leading blocks it has, and have it keep them for longer.

        :param hashes: those of a sequence's blocks, in their order.
        :return: how many; None when it could not be asked, or did not answer in time. Awaiting it takes a bounded time,
            and none at all while the store cannot be reached.
        """

    def store(hashes: Sequence[bytes]) -> None:
        """Have it keep blocks. They are on their way at once; what is too much for it is dropped, and counted."""

    def clear() -> Deferred[bool]:
        """Have it forget the blocks of all servers that share them.

        :return: fires with whether it has.
        """


class IBlockStoreMetrics(Interface):
    """Hears what becomes of a cache outside this server."""

    def store_changed(up: bool) -> None:
        """It can be reached, or not any more."""

    def store_failed(reason: str) -> None:
        """Something went wrong with it.

        :param reason: ``connection`` when there is none, ``timeout`` when it did not answer in time, ``refused`` when
            it did not do what it was asked to, ``full`` when it has no room for more blocks.
        """

    def store_answered(seconds: float) -> None:
        """It answered a lookup.

        :param seconds: how long that took.
        """

    def store_passed_over(blocks: int) -> None:
        """Blocks did not go there, since there was no way or no room for them."""


class ICacheMetrics(Interface):
    """Hears what happens to KV blocks."""

    def prefix_looked_up(tokens: int, hits: int) -> None:
        """A sequence looked for its prefix.

        :param tokens: its length.
        :param hits: how many of its tokens were there.
        """

    def external_looked_up(tokens: int, hits: int) -> None:
        """What was not there was looked for outside.

        :param tokens: how many tokens that were.
        :param hits: how many of them were there.
        """

    def blocks_counted(used: int, cached: int, usable: int) -> None:
        """The number of blocks changed that sequences have, or that can be found by their hashes.

        :param usable: how many blocks there are.
        """

    def block_evicted(lifetime: float, idle: float, reuse_gaps: Sequence[float]) -> None:
        """A block whose life is measured was given to another sequence; all times are seconds.

        :param lifetime: since it was taken from those that hold nothing.
        :param idle: since it was used last.
        :param reuse_gaps: between its uses by one sequence and the next.
        """

    def events_published(events: int) -> None:
        """A batch of block events is on its way to subscribers."""

    def events_dropped(events: int) -> None:
        """A batch does not reach everyone whom it should: too much waits for some subscriber already."""


class IRankMetrics(Interface):
    """Hears what happens to sequences. Methods say what happened; only the provider knows metric names."""

    def sequence_queued() -> None:
        """A sequence began to wait for a slot."""

    def sequence_unqueued() -> None:
        """A sequence left the queue without getting a slot."""

    def sequence_started() -> None:
        """A sequence left the queue for a slot."""

    def transfer_started() -> None:
        """A sequence waits for KV blocks of the server that ran its prefill."""

    def transfer_finished(prefill: Prefill, seconds: float) -> None:
        """They are there.

        :param seconds: how long the transfer took.
        """

    def transfer_aborted() -> None:
        """The sequence is gone before they were there."""

    def prefill_finished(prefill: Prefill, since_arrival: float) -> None:
        """A sequence's first token is out; one that is refused has none.

        :param since_arrival: the time to first token.
        """

    def tokens_emitted(count: int, gap: float | None) -> None:
        """A run of tokens is out.

        :param gap: seconds since the sequence's previous run; None for its first.
        """

    def iteration_finished() -> None:
        """The pacer finished a tick: what was emitted since the last one makes one iteration."""

    def sequence_finished(
        reason: str,
        prefill: Prefill,
        generated_tokens: int,
        max_tokens: int,
        times: SequenceTimes,
    ) -> None:
        """A sequence delivered its last token and leaves its slot.

        :param max_tokens: how many tokens it would have had at most.
        """

    def answer_parsed(parsing: Parsing, answer: Answer) -> None:
        """Calls of tools were looked for in a whole answer, in the pieces in which it was sent."""

    def media_looked_up(items: int, hits: int) -> None:
        """The media of a prompt were looked up among those that have been read.

        :param hits: how many of them were there.
        """

    def sequence_aborted() -> None:
        """A sequence leaves its slot before its last token."""

    def admission_rejected(limit: str) -> None:
        """A request was not let in.

        :param limit: the option that says so, with underscores.
        """

    def sleep_level_changed(level: int | None) -> None:
        """The rank fell asleep, or woke up.

        :param level: from 0 to 2; None for awake.
        """

    def operation_began(operation: str) -> Callable[[], object]:
        """The rank is to fall asleep, or to wake up.

        :param operation: ``sleep`` or ``wake``.
        :return: is to be called when that is done.
        """

    def dataset_asked(dataset: str, result: str, trouble: str | None) -> None:
        """A dataset was asked for an answer.

        :param dataset: what the metrics call it.
        :param result: ``hit`` for an answer to the prompt, ``miss`` for one to another, ``fallback`` for none.
        :param trouble: why there was none: ``locked``, ``broken`` or ``empty``.
        """

    def prompt_finished(n: int, longest: int) -> None:
        """Every choice of one prompt is delivered.

        :param n: how many there are.
        :param longest: generated tokens of the longest.
        """


class IAdapterMetrics(Interface):
    """Hears what happens to LoRA adapters, and to the sequences that use them."""

    def sequences_changed(name: str, waiting: int, running: int) -> None:
        """Sequences of an adapter came, moved or went.

        :param waiting: how many more wait; fewer if it is below 0.
        :param running: how many more run.
        """

    def slots_changed(gpu: int, memory: int) -> None:
        """Adapters came to a slot or into memory, or lost their place.

        :param gpu: how many are in slots.
        :param memory: how many are in memory, those in slots included.
        """

    def adapter_loaded(seconds: float) -> None:
        """One comes from disk.

        :param seconds: how long that takes.
        """

    def adapter_evicted(place: str) -> None:
        """One had to give way to another.

        :param place: ``gpu`` or ``memory``.
        """


class IHttpMetrics(Interface):
    """Hears of HTTP exchanges."""

    def exchange_finished(
        route: str, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """A response is out, or its client is gone.

        :param route: the route's template, or ``none`` for a path that is none.
        :param request_bytes: the request's Content-Length, 0 without one.
        :param response_bytes: the response's Content-Length, 0 without one.
        """
