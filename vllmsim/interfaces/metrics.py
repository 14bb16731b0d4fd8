# -*- test-case-name: tests.test_interfaces -*-
"""Who counts what happens. Methods say what happened; only the provider knows metric names."""

from collections.abc import Callable, Iterable, Sequence

from zope.interface import Interface

from vllmsim.inference import Answer, Prefill, SequenceTimes
from vllmsim.structure import Parsing


class IRankMetrics(Interface):
    """Hears what happens to sequences. Methods say what happened; only the provider knows metric names."""

    def sequence_queued() -> None:
        """A sequence began to wait for a slot."""

    def sequence_unqueued() -> None:
        """A sequence left the queue without getting a slot."""

    def sequence_started() -> None:
        """A sequence left the queue for a slot."""

    def sequence_preempted() -> None:
        """A sequence lost its place to others, and waits again."""

    def sequence_resumed() -> None:
        """A sequence that had lost its place has one again."""

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

    def draft_verified(drafted: int, accepted: int) -> None:
        """A step verified tokens that were guessed for a sequence.

        :param drafted: how many; at least one.
        :param accepted: how many of them, from the first on, were right.
        """

    def iteration_finished() -> None:
        """A tick of the pacer, or a step of the engine, is over: what was emitted since the last is one iteration."""

    def sequence_finished(
        reason: str,
        prefill: Prefill,
        generated_tokens: int,
        max_tokens: int,
        times: SequenceTimes,
        preemptions: int,
    ) -> None:
        """A sequence delivered its last token and leaves its slot.

        :param max_tokens: how many tokens it would have had at most.
        :param preemptions: how many times it lost its place to others.
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
