# -*- test-case-name: tests.scheduling.test_generation -*-
"""One sequence in its slot: prefill, then decode."""

from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from vllmsim.inference import NOT_CACHED, NOTHING_SAID, Answer, Extent, FinishReason, Prefill, SequenceTimes
from vllmsim.interfaces import IAdapterMetrics, IKVCache, ILatencyModel, IRankMetrics, ISequenceBlocks, ITokenizer
from vllmsim.scheduling.answer import settle
from vllmsim.scheduling.fetching import Fetch
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.sequence import Sequence

_MOST_TOKENS: Final = 256
_MOST_DETAILED: Final = 128
"""How many tokens are delivered at once, and how many of those that are shown in detail.

As events these are about 64 KiB, which a socket takes in one write and a sink makes in less than a millisecond or two.
"""


@frozen(eq=False)
class Model:
    """What stands in for the model: everything a sequence needs to generate.

    :param running: how many sequences are in slots now.
    """

    clock: IReactorTime
    tokenizer: ITokenizer
    cache: IKVCache
    pacer: TokenPacer
    metrics: IRankMetrics
    adapters: IAdapterMetrics
    running: Callable[[], int]


def generate(model: Model, sequence: Sequence) -> Deferred[int]:
    """Run a sequence from prefill to its last token.

    :return: fires with the number of tokens when the last is delivered. Cancelling it stops the sequence at once; if it
        is aborted, it fires then with the number of tokens that were delivered, and the sink has heard of the end.
    """
    return Deferred.fromCoroutine(_generate(model, sequence))


async def _generate(model: Model, sequence: Sequence) -> int:
    # Hundreds may begin in one turn of the reactor: what is due meanwhile does not wait for all of them.
    model.pacer.catch_up()
    started, begun = model.clock.seconds(), model.pacer.seconds()
    record = sequence.submission.record
    decode: Decode | None = None
    blocks: ISequenceBlocks | None = None
    fetch: Fetch | None = None
    finished = False
    try:
        answer = await _compose(model, sequence)
        allocated = _allocate(model, sequence, answer)
        if allocated.called:
            blocks = await allocated
        else:
            # It is as if it had not left the queue: its time begins when there is room for it.
            blocks = await allocated
            started, begun = model.clock.seconds(), model.pacer.seconds()
        model.metrics.sequence_started()
        record.sequence_started(started, 0 if sequence.choice % sequence.sampling.n else blocks.prefill.found)
        _tell_of_adapter(model, sequence, -1, 1)
        due, image = begun, 0.0
        if _is_refused(sequence, blocks.prefill):
            answer = NOT_CACHED.prefilled(blocks.prefill)
        else:
            answer = answer.prefilled(blocks.prefill)
            computing, fetching = _times_to_first_token(model, sequence, blocks.prefill)
            due = max(begun, sequence.ready) + computing + fetching
            record.prefill_planned(computing + fetching)
            if sequence.submission.request.remote_prefill and blocks.prefill.external:
                fetch = Fetch(model.metrics, blocks.prefill, fetching)
            image = _time_for_image(sequence)
        decode = Decode(model, sequence, answer, blocks, due, image, fetch)
        await decode.finished
        model.metrics.sequence_finished(
            answer.finish_reason,
            blocks.prefill,
            len(answer),
            sequence.limit,
            SequenceTimes(sequence.arrived, started, decode.first_emission, decode.last_emission),
        )
        _look_for_calls(model, sequence, answer)
        finished = True
        return len(answer)
    except CancelledError:
        if not sequence.aborted:
            raise
        return sequence.end_early(decode.said if decode else NOTHING_SAID)
    finally:
        if fetch is not None:
            fetch.give_up()
        if blocks is None:
            model.metrics.sequence_unqueued()
            record.sequence_unqueued()
            _tell_of_adapter(model, sequence, -1, 0)
        else:
            blocks.release()
            _leave(model, sequence, decode, answer.finish_reason if finished else None)


def _leave(model: Model, sequence: Sequence, decode: "Decode | None", reason: FinishReason | None) -> None:
    """Tell who wants to know that a sequence which ran has left its slot.

    :param reason: why its last token is the last; None if it has been ended before.
    """
    if reason is None:
        model.metrics.sequence_aborted()
    _tell_of_adapter(model, sequence, 0, -1)
    record, sent = sequence.submission.record, decode.sent if decode else 0
    record.sequence_left(decode.last_emission if decode and sent else None)
    if not sequence.aborted:
        record.choice_ended(sequence.choice, sent, reason)


def _tell_of_adapter(model: Model, sequence: Sequence, waiting: int, running: int) -> None:
    if sequence.adapter is not None:
        model.adapters.sequences_changed(sequence.adapter.name, waiting, running)


def _look_for_calls(model: Model, sequence: Sequence, answer: Answer) -> None:
    parsing = sequence.submission.request.form.parsing
    if parsing is not None:
        model.metrics.answer_parsed(parsing, answer)


def _allocate(model: Model, sequence: Sequence, answer: Answer) -> Deferred[ISequenceBlocks]:
    request = sequence.submission.request
    remote_tokens = 0
    if request.remote_prefill:
        prompt_tokens = len(sequence.prompt.ids)
        remote_tokens = prompt_tokens if request.remote_tokens is None else min(prompt_tokens, request.remote_tokens)
    return model.cache.allocate(sequence.hashed, answer.ids, request.reads_cache, remote_tokens)


def _is_refused(sequence: Sequence, prefill: Prefill) -> bool:
    """Tell whether too little of a prompt is cached for it to be served here."""
    request, usual = sequence.submission.request, sequence.submission.behaviour.hit_threshold
    if request.below_threshold:
        return True
    if usual is None:
        return False
    threshold = usual if request.hit_threshold is None else request.hit_threshold
    # The last token is never found: a prompt of which nothing else is missing is cached as well as it can be.
    missing = prefill.computed > 1 and prefill.found < threshold * prefill.tokens
    return sequence.submission.refuses(sequence.choice, missing)


def _times_to_first_token(model: Model, sequence: Sequence, prefill: Prefill) -> tuple[float, float]:
    """Draw how long it takes to compute a prompt, and how long to fetch what others have of it.

    Where another server has run the prefill, there is nothing but the transfer of the whole prompt. Where it has not
    come so far, or where a cache outside has some blocks, the rest is computed as ever.
    """
    latency, running, generator = sequence.submission.behaviour.latency, model.running(), sequence.generator
    if sequence.submission.request.remote_prefill and prefill.computed <= 1:
        return 0.0, latency.time_to_first_token(prefill.tokens, prefill.found, True, running, generator)
    computing = latency.time_to_first_token(prefill.tokens, prefill.found, False, running, generator)
    if not prefill.external:
        return computing, 0.0
    return computing, latency.time_to_first_token(prefill.external, 0, True, running, generator)


def _time_for_image(sequence: Sequence) -> float:
    submission = sequence.submission
    return submission.behaviour.latency.image_latency(sequence.generator) if submission.request.form.image else 0.0


async def _compose(model: Model, sequence: Sequence) -> Answer:
    request, sampling, limit = sequence.submission.request, sequence.sampling, sequence.limit
    least = limit if sampling.ignore_eos else sampling.min_tokens
    extent = Extent(least, limit, explicit=sampling.max_tokens is not None)
    composer = sequence.submission.behaviour.composer
    assert composer is not None
    said = await composer.compose(sequence.prompt, request.model, request.form, extent, sequence.generator)
    return settle(said, limit, sampling, model.tokenizer.eos_id, model.tokenizer.eos_text)


@define(eq=False)
class Decode:
    """The tokens of one answer on their way out, each at its own deadline.

    :param blocks: the KV blocks that it fills; they have the prompt already.
    :param due: when the first token is due, in the pacer's time; every further one is due a gap after the one before.
    :param image: seconds that an image takes, which delays the last token.
    :param fetch: the transfer of the prompt's blocks, if they come from another server.
    """

    _model: Model
    _sequence: Sequence
    _answer: Answer
    _blocks: ISequenceBlocks
    _due: float
    _image: float = 0.0
    _fetch: Fetch | None = None
    sent: int = field(init=False, default=0)
    """How many tokens have been delivered."""
    _most: int = field(init=False)
    _latency: ILatencyModel = field(init=False)
    _prompt_tokens: int = field(init=False)
    first_emission: float = field(init=False, default=0.0)
    last_emission: float = field(init=False, default=0.0)
    finished: Deferred[None] = field(init=False)
    """Fires after the last token; cancelling it stops the rest, and a sink may do so while it takes a token."""

    @_most.default
    def _most_at_once(self) -> int:
        return _MOST_DETAILED if self._sequence.sampling.detailed else _MOST_TOKENS

    @_latency.default
    def _find_latency(self) -> ILatencyModel:
        return self._sequence.submission.behaviour.latency

    @_prompt_tokens.default
    def _count_prompt(self) -> int:
        return len(self._sequence.prompt.ids)

    def __attrs_post_init__(self) -> None:
        place = self._model.pacer.add(self._due, self)
        self.finished = Deferred(lambda _: self._model.pacer.discard(place))

    @property
    def said(self) -> Answer:
        """What has been delivered, as the answer of a sequence that is aborted."""
        return self._answer.aborted(self.sent)

    def emit(self, now: float) -> float | None:
        """Deliver every token that is due; see :class:`vllmsim.scheduling.pacing.Paced`."""
        start, length = self.sent, len(self._answer.ids)
        stop = self.sent = self._reach(now, start, length)
        # The last token is read by no step of the model, and so has no place in a block.
        self._blocks.grow(self._prompt_tokens + min(stop, max(0, length - 1)))
        model, sequence = self._model, self._sequence
        metrics, time = model.metrics, now + model.pacer.held
        if start:
            metrics.tokens_emitted(stop - start, time - self.last_emission)
        else:
            if self._fetch is not None:
                self._fetch.finish()
            if not self._answer.refused:
                metrics.prefill_finished(self._blocks.prefill, time - sequence.arrived)
                if sequence.submission.record.first_token is None:
                    sequence.submission.record.first_token = time
            metrics.tokens_emitted(stop, None)
            self.first_emission = time
            sequence.begin(self._blocks.prefill)
        self.last_emission = time
        if not self.finished.called:
            sequence.submission.sink.tokens(sequence.choice, self._answer, start, stop)
        if stop < length:
            return self._due
        if not self.finished.called:
            self.finished.callback(None)
        return None

    def fail(self, reason: Failure) -> None:
        """End the sequence: delivering a token failed."""
        if not self.finished.called:
            self.finished.errback(reason)

    def _reach(self, now: float, start: int, length: int) -> int:
        """Count the tokens that are due, no more than are written at a time, and move the deadline to the next."""
        latency = self._latency
        most = min(length, start + self._most)
        if latency.instant and not self._image:
            return most
        due, stop, running, generator = self._due, start, self._model.running(), self._sequence.generator
        while due <= now and stop < most:
            stop += 1
            due += latency.inter_token_latency(running, generator)
            if stop == length - 1:
                due += self._image
        self._due = due
        return stop
