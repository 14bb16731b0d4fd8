# -*- test-case-name: tests.scheduling.test_generation -*-
"""One sequence, from its answer to its last token, whatever course it takes."""

from typing import cast

from twisted.internet.defer import CancelledError, Deferred

from vllmsim.inference import NOT_CACHED, NOTHING_SAID, Answer, Extent, Prefill, SequenceTimes
from vllmsim.interfaces import ITokenizer
from vllmsim.scheduling import passage
from vllmsim.scheduling.answer import settle
from vllmsim.scheduling.course import Course
from vllmsim.scheduling.emission import Emission
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.sequence import Sequence


def generate(model: Model, sequence: Sequence, course: Course) -> Deferred[int]:
    """Run a sequence from its answer to its last token.

    :return: fires with the number of tokens when the last is delivered. Cancelling it stops the sequence at once; if it
        is aborted, it fires then with the number of tokens that were delivered, and the sink has heard of the end.
    """
    return Deferred.fromCoroutine(_generate(model, sequence, course))


async def _generate(model: Model, sequence: Sequence, course: Course) -> int:
    # Hundreds may begin in one turn of the reactor: what is due meanwhile does not wait for all of them.
    model.pacer.catch_up()
    started, begun = model.clock.seconds(), model.pacer.seconds()
    emission: Emission | None = None
    prefill: Prefill | None = None
    finished = False
    try:
        answer = await _compose(model, sequence)
        sequence.submission.composed(len(answer))
        entered = course.enter(answer)
        if entered.called:
            prefill = await entered
        else:
            # It is as if it had not left the queue: its time begins when there is room for it.
            prefill = await entered
            started, begun = model.clock.seconds(), model.pacer.seconds()
        passage.start(model, sequence, started, prefill)
        said = NOT_CACHED if sequence.is_refused(prefill) else answer
        emission = course.speak(said.prefilled(prefill), begun)
        await emission.finished
        answer = emission.answer
        model.metrics.sequence_finished(
            answer.finish_reason,
            answer.prefill,
            len(answer),
            sequence.limit,
            SequenceTimes(sequence.arrived, started, emission.first_emission, emission.last_emission),
            course.preemptions,
        )
        _look_for_calls(model, sequence, answer)
        finished = True
        return len(answer)
    except CancelledError:
        if not sequence.aborted:
            raise
        return sequence.end_early(emission.said if emission else NOTHING_SAID)
    finally:
        course.leave()
        if prefill is None:
            passage.give_up(model.metrics, model.adapters, sequence, model.clock.seconds())
        else:
            passage.leave(model, sequence, emission, answer.finish_reason if finished else None)


def _look_for_calls(model: Model, sequence: Sequence, answer: Answer) -> None:
    parsing = sequence.submission.request.form.parsing
    if parsing is not None:
        model.metrics.answer_parsed(parsing, answer)


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
