"""What is remembered of one request."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import request_for
from vllmsim.errors import (
    InferenceError,
    InvalidRequest,
    Overloaded,
    QueueFull,
    Unavailable,
    UnknownModel,
    Unsupported,
)
from vllmsim.records import MOST_CHOICES, HttpFacts, Outcome, RequestRecord, State


def generating(*texts: str, **sampling: Any) -> RequestRecord:
    """Make the record of a request that is to generate."""
    record = RequestRecord("/route", base="m")
    record.generates(request_for(*texts, **sampling), stream=False)
    return record


class StateTests(SynchronousTestCase):
    """Where a request is."""

    def test_generation(self) -> None:
        """It is read, waits, runs as long as one of its sequences does, is sent, and is done."""
        record = generating("a", n=2)
        states: list[State] = [record.state]
        for happens in (
            lambda: record.sequence_queued(1.0),
            lambda: record.sequence_queued(2.0),
            lambda: record.sequence_started(3.0, 5),
            lambda: record.sequence_started(4.0, 0),
            lambda: record.sequence_left(5.0),
            lambda: record.sequence_left(6.0),
            lambda: record.ends(7.0),
        ):
            happens()
            states.append(record.state)
        expected = ["reading", "waiting", "waiting", "running", "running", "running", "sending", "done"]
        self.assertEqual(expected, states)
        self.assertEqual(
            (1.0, 3.0, 6.0, 7.0, 5),
            (record.queued, record.started, record.last_token, record.finished, record.cached_tokens),
        )

    def test_pooling(self) -> None:
        """One that pools has no sequences; it waits and runs all the same."""
        record = RequestRecord("/route")
        states: list[State] = []
        for name in ("queued", "started"):
            setattr(record, name, 1.0)
            states.append(record.state)
        self.assertEqual(["waiting", "running"], states)

    def test_without_slot(self) -> None:
        """A sequence that leaves the queue without a slot has no times of one."""
        record = generating("a")
        record.sequence_queued(1.0)
        record.sequence_unqueued()
        self.assertEqual((0, 0, None, None), (record.waiting, record.running, record.started, record.last_token))


class OutcomeTests(SynchronousTestCase):
    """What became of a request."""

    def test_errors(self) -> None:
        """An error is a refusal, the client's fault or ours, by what it is and when it comes."""
        cases: tuple[tuple[InferenceError, bool, Outcome], ...] = (
            (InvalidRequest("x"), False, "invalid"),
            (UnknownModel("x"), False, "invalid"),
            (QueueFull("x"), False, "refused"),
            (Overloaded("x"), False, "refused"),
            (Unavailable("x"), False, "refused"),
            (Unavailable("x"), True, "failed"),
            (Unsupported("x"), False, "failed"),
            (InferenceError("x"), False, "failed"),
        )
        for error, queued, outcome in cases:
            record = generating("a")
            if queued:
                record.sequence_queued(1.0)
            record.fails(error)
            self.assertEqual("reading" if not queued else "waiting", record.state)
            record.ends(2.0)
            self.assertEqual((outcome, error.kind, "x"), (record.outcome, record.error_type, record.error_message))

    def test_precedence(self) -> None:
        """A fault explains an error, an error that the client leaves, and that what an operator did."""
        record = generating("a")
        outcomes: list[Outcome | None] = []
        record.ends(1.0)
        outcomes.append(record.outcome)
        record.choice_ended(0, 0, "abort")
        record.ends(1.0)
        outcomes.append(record.outcome)
        record.ends(1.0, "disconnected")
        outcomes.append(record.outcome)
        record.fails(InvalidRequest("x"))
        record.ends(1.0, "disconnected")
        outcomes.append(record.outcome)
        record.fault = "rule"
        record.ends(1.0, "disconnected")
        outcomes.append(record.outcome)
        self.assertEqual(["completed", "aborted", "disconnected", "invalid", "injected"], outcomes)

    def test_threshold(self) -> None:
        """A request is refused when none of its prompts is cached well enough, and completed when one is."""
        for reasons, outcome in ((["cache_threshold"] * 2, "refused"), (["cache_threshold", "stop"], "completed")):
            record = generating("a", "b")
            for choice, reason in enumerate(reasons):
                record.choice_ended(choice, 4 if reason == "stop" else 0, reason)  # type: ignore[arg-type]
            record.ends(1.0)
            self.assertEqual(outcome, record.outcome)


class TraceTests(SynchronousTestCase):
    """The trace that a request is part of."""

    def test_client(self) -> None:
        """It is what traceparent says, if that is valid."""
        trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
        for text, expected in {
            f"00-{trace}-{span}-01": trace,
            f" 00-{trace}-{span}-00 ": trace,
            f"01-{trace}-{span}-01-more": trace,
            f"00-{trace}-{span}-01-more": None,
            f"ff-{trace}-{span}-01": None,
            f"00-{trace.upper()}-{span}-01": None,
            f"00-{'0' * 32}-{span}-01": None,
            f"00-{trace}-{'0' * 16}-01": None,
            f"00-{trace}-{span}": None,
            "": None,
        }.items():
            record = RequestRecord("/x", http=HttpFacts("POST", "/x", {b"traceparent": text.encode()}))
            self.assertEqual(expected, record.trace_id, text)
        self.assertIsNone(RequestRecord("/x", http=HttpFacts("POST", "/x", {})).trace_id)

    def test_own(self) -> None:
        """A trace that began here is told as well."""
        record = RequestRecord("x")
        self.assertIsNone(record.trace_id)
        record.span_trace = "ab"
        self.assertEqual("ab", record.trace_id)


class NameTests(SynchronousTestCase):
    """What a request goes by."""

    def test_ids(self) -> None:
        """It goes by its answer's id, that without its prefix, and what the engine calls its prompts."""
        record = RequestRecord("/route")
        self.assertEqual([], record.engine_ids)
        self.assertFalse(record.goes_by(""))
        record.asks("a", "m", "cmpl-77", "77")
        record.prompts = 2
        names = ("cmpl-77", "77", "cmpl-77-0", "cmpl-77-1", "cmpl-77-2", "7")
        self.assertEqual([True, True, True, True, False, False], [record.goes_by(name) for name in names])
        record.asks("a", "m", "chatcmpl-77", "77")
        self.assertEqual(["chatcmpl-77"], record.engine_ids)

    def test_adapter(self) -> None:
        """A model that is not the base model is an adapter."""
        record = RequestRecord("/route", base="m")
        adapters = [record.adapter]
        for model in ("m", "lora"):
            record.asks(None, model, "chatcmpl-1", "1")
            adapters.append(record.adapter)
        self.assertEqual([None, None, "lora"], adapters)

    def test_unknown_model(self) -> None:
        """The name of a model that is not served is remembered."""
        record = RequestRecord("/route")
        record.fails(UnknownModel("no", model="n" * 1000))
        self.assertEqual("n" * 256, record.asked)


class SizeTests(SynchronousTestCase):
    """No request makes a record large."""

    def test_long_lists(self) -> None:
        """Of a million ids and of long texts the first are kept."""
        many = tuple(range(100_000))
        record = generating("a", stop=("s" * 10_000,) * 4, stop_token_ids=many, logit_bias=many, allowed_token_ids=many)
        sampling = record.sampling
        assert sampling is not None
        assert sampling.allowed_token_ids is not None
        lengths = [len(sampling.stop_token_ids), len(sampling.logit_bias), len(sampling.allowed_token_ids)]
        self.assertEqual(([16] * 3, [64] * 4), (lengths, [len(stop) for stop in sampling.stop]))

    def test_long_names(self) -> None:
        """Names and messages are cut."""
        record = RequestRecord("/route")
        record.asks("a" * 9999, "m", "i" * 9999, "i" * 9999)
        record.fails(InvalidRequest("x" * 9999))
        assert record.asked is not None
        assert record.error_message is not None
        lengths = [len(text) for text in (record.asked, record.answer_id, record.request_id, record.error_message)]
        self.assertEqual([256, 256, 256, 1024], lengths)

    def test_many_choices(self) -> None:
        """Of thousands of choices the first are remembered one by one, and all are counted."""
        record = generating("a", n=5000)
        for choice in range(5000):
            record.choice_ended(choice, 2, "length")
        self.assertEqual((MOST_CHOICES, 10_000), (len(record.choices), record.generated_tokens))
