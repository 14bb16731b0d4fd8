# -*- test-case-name: tests.scheduling.test_generation -*-
"""One sequence in its slot: prefill, then decode."""

from typing import cast

from twisted.internet.defer import CancelledError, Deferred

from vllmsim.inference import NOT_CACHED, NOTHING_SAID, Answer, Extent, FinishReason, Prefill, SequenceTimes
from vllmsim.interfaces import ISequenceBlocks, ITokenizer
from vllmsim.scheduling.answer import settle
from vllmsim.scheduling.decode import Decode, begin_decode
from vllmsim.scheduling.fetching import Fetch
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.sequence import Sequence


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
        sequence.submission.composed(len(answer))
        allocated = _allocate(model, sequence, answer)
        if allocated.called:
            blocks = await allocated
        else:
            # It is as if it had not left the queue: its time begins when there is room for it.
            blocks = await allocated
            started, begun = model.clock.seconds(), model.pacer.seconds()
        model.metrics.sequence_started()
        record.sequence_started(started, 0 if sequence.choice % sequence.sampling.n else blocks.prefill.found)
        sequence.moves("prefill", started, cached=blocks.prefill.found)
        if sequence.adapter is not None:
            model.adapters.sequences_changed(sequence.adapter.name, -1, 1)
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
        decode = begin_decode(model, sequence, answer, blocks, due, image, fetch)
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
            _unqueue(model, sequence)
        else:
            blocks.release()
            _leave(model, sequence, decode, answer.finish_reason if finished else None)
        sequence.moves(None, model.clock.seconds())


def _unqueue(model: Model, sequence: Sequence) -> None:
    """Tell who wants to know that a sequence is gone before there was room for it."""
    model.metrics.sequence_unqueued()
    sequence.submission.record.sequence_unqueued()
    if sequence.adapter is not None:
        model.adapters.sequences_changed(sequence.adapter.name, -1, 0)


def _leave(model: Model, sequence: Sequence, decode: Decode | None, reason: FinishReason | None) -> None:
    """Tell who wants to know that a sequence which ran has left its slot.

    :param reason: why its last token is the last; None if it has been ended before.
    """
    if reason is None:
        model.metrics.sequence_aborted()
    if sequence.adapter is not None:
        model.adapters.sequences_changed(sequence.adapter.name, 0, -1)
    record, sent = sequence.submission.record, decode.sent if decode else 0
    record.sequence_left(decode.last_emission if decode and sent else None)
    if not sequence.aborted:
        record.choice_ended(sequence.choice, sent, reason)


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
    composer, tokenizer = sequence.submission.behaviour.composer, model.tokenizer
    assert composer is not None
    if request.tokenizer is not None:
        tokenizer = cast("ITokenizer", request.tokenizer)
        composer = composer.speaking(tokenizer)
    said = await composer.compose(sequence.prompt, request.model, request.form, extent, sequence.generator)
    return settle(said, limit, sampling, tokenizer.eos_id, tokenizer.eos_text)
