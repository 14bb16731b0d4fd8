"""What the span of a request says."""

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import request_for
from vllmsim.errors import InjectedFailure, InvalidRequest, QueueFull
from vllmsim.records import HttpFacts, Outcome, RequestRecord
from vllmsim.sampling import Sampling
from vllmsim.tracing.describing import attributes_of, error_of, events_of

VLLM = {
    "gen_ai.latency.e2e", "gen_ai.latency.time_in_model_decode", "gen_ai.latency.time_in_model_inference",
    "gen_ai.latency.time_in_model_prefill", "gen_ai.latency.time_in_queue", "gen_ai.latency.time_to_first_token",
    "gen_ai.request.id", "gen_ai.request.max_tokens", "gen_ai.request.n", "gen_ai.request.temperature",
    "gen_ai.request.top_p", "gen_ai.usage.completion_tokens", "gen_ai.usage.prompt_tokens",
}  # fmt: skip
"""The attributes of vLLM's ``llm_request``, as a collector has seen them; those of its parameters if they are not 0."""
OPENTELEMETRY = {
    "gen_ai.response.model", "gen_ai.response.finish_reasons", "error.type", "http.route", "http.response.status_code",
}  # fmt: skip


def arrived(status: int = 200) -> RequestRecord:
    """Make the record of a request that has come."""
    return RequestRecord("/v1/chat/completions", 7, 1, "m", 1000.0, 20.0, HttpFacts("POST", "/", {}, status=status))


def answered(n: int = 1, **sampling: float) -> RequestRecord:
    """Make the record of a request that was answered."""
    record = arrived()
    record.generates(request_for("a", n=n, **sampling), stream=True)
    record.model, record.prompt_tokens = "m", 3
    record.sequence_queued(20.25)
    record.sequence_started(20.5, 2)
    record.first_token = 21.0
    for choice in range(n):
        record.choice_ended(choice, 4, "stop")
    record.sequence_left(23.0)
    record.ends(23.5)
    return record


class AttributeTests(SynchronousTestCase):
    """Names and values."""

    def test_names(self) -> None:
        """A request that was answered has all attributes that vLLM's spans have; others are standard, or say whose."""
        names = set(attributes_of(answered(), 100))
        self.assertEqual(set(), VLLM - names)
        rest = names - VLLM - OPENTELEMETRY
        self.assertEqual([], [name for name in rest if not name.startswith("vllmsim.")])

    def test_times(self) -> None:
        """Times are seconds, of each stage and of all until the last token."""
        found = attributes_of(answered(), 100)
        times = {name.rpartition(".")[2]: value for name, value in found.items() if ".latency." in name}
        self.assertEqual(
            {
                "time_in_queue": 0.25,
                "time_to_first_token": 1.0,
                "e2e": 3.0,
                "time_in_model_prefill": 0.5,
                "time_in_model_decode": 2.0,
                "time_in_model_inference": 2.5,
            },
            times,
        )

    def test_facts(self) -> None:
        """Tokens are those of all choices, and the rank, the cache and the journal's number are told."""
        found = attributes_of(answered(2), 100)
        for name, value in {
            "gen_ai.usage.prompt_tokens": 3,
            "gen_ai.usage.completion_tokens": 8,
            "gen_ai.request.n": 2,
            "gen_ai.request.id": "r1",
            "gen_ai.response.model": "m",
            "gen_ai.response.finish_reasons": ["stop", "stop"],
            "http.route": "/v1/chat/completions",
            "http.response.status_code": 200,
            "vllmsim.rank": 1,
            "vllmsim.number": 7,
            "vllmsim.outcome": "completed",
            "vllmsim.cached_tokens": 2,
            "vllmsim.stream": True,
        }.items():
            self.assertEqual(value, found[name], name)

    def test_limit(self) -> None:
        """The most tokens are what the engine is told: what is asked, or what the context has room for."""
        for asked, expected in ((None, 97), (5, 5), (1000, 97), (0, None)):
            found = attributes_of(answered(max_tokens=asked), 100)  # type: ignore[arg-type] # None is one too
            self.assertEqual(expected, found.get("gen_ai.request.max_tokens"), asked)
        several = answered()
        several.prompts = 2
        self.assertNotIn("gen_ai.request.max_tokens", attributes_of(several, 100))

    def test_zero(self) -> None:
        """A parameter that is zero is left out, as vLLM does."""
        found = attributes_of(answered(temperature=0.0, top_p=0.0), 100)
        self.assertEqual([], [name for name in found if name.endswith((".temperature", ".top_p"))])

    def test_ids(self) -> None:
        """The id of a completion with one prompt is the engine's; of several prompts it is the answer's."""
        record = answered()
        record.answer_id = "cmpl-7"
        self.assertEqual("cmpl-7-0", attributes_of(record, 100)["gen_ai.request.id"])
        record.prompts = 2
        self.assertEqual("cmpl-7", attributes_of(record, 100)["gen_ai.request.id"])

    def test_adapter(self) -> None:
        """An adapter that answers, a fault that was injected and a tenant are named."""
        record = answered()
        record.model, record.fault, record.tenant = "poet", "rule", "acme"
        found = attributes_of(record, 100)
        self.assertEqual(
            ["poet", "rule", "acme"], [found[f"vllmsim.{name}"] for name in ("adapter", "fault", "tenant")]
        )

    def test_pooling(self) -> None:
        """A request for vectors has its first and last result at its end, and none of the parameters of sampling."""
        record = arrived()
        record.asks(None, "m", "embd-1", "1")
        record.prompts, record.prompt_tokens, record.queued, record.started = 1, 3, 20.0, 20.5
        record.ends(21.0)
        found = attributes_of(record, 100)
        names = ("e2e", "time_in_model_prefill", "time_in_model_decode")
        self.assertEqual((1.0, 0.5, 0.0), tuple(found[f"gen_ai.latency.{name}"] for name in names))
        self.assertEqual(0, found["gen_ai.usage.completion_tokens"])
        self.assertEqual(["gen_ai.request.id"], [name for name in found if name.startswith("gen_ai.request.")])

    def test_refused(self) -> None:
        """A request that was wrong has what is known of it."""
        record = arrived(400)
        record.fails(InvalidRequest("secret words"))
        record.ends(20.5)
        found = attributes_of(record, 100)
        names = ("error.type", "http.response.status_code", "vllmsim.outcome")
        self.assertEqual(("BadRequestError", 400, "invalid"), tuple(found[name] for name in names))
        self.assertNotIn("secret", str(found))
        self.assertEqual(["gen_ai.latency.e2e"], [name for name in found if ".latency." in name])

    def test_called(self) -> None:
        """A call over gRPC has its own status beside that of HTTP."""
        record = arrived()
        assert record.http is not None
        record.http.grpc_status = "NOT_FOUND"
        record.ends(20.5)
        found = attributes_of(record, 100)
        self.assertEqual((200, "NOT_FOUND"), (found["http.response.status_code"], found["rpc.response.status_code"]))

    def test_hostile(self) -> None:
        """Numbers that no span can have and halves of characters do not keep other spans from being sent."""
        record = answered()
        record.model, record.answer_id, record.sampling = "\ud800", "a\udfff", Sampling(n=10**30)
        found = attributes_of(record, 10**40)
        self.assertEqual(("?", "a?"), (found["gen_ai.response.model"], found["gen_ai.request.id"]))
        self.assertEqual([2**63 - 1] * 2, [found[f"gen_ai.request.{name}"] for name in ("n", "max_tokens")])


class EventTests(SynchronousTestCase):
    """What happened, and when."""

    def test_answered(self) -> None:
        """A request that was answered waited, was computed, had its first token, and came to its end."""
        second = 10**9
        self.assertEqual(
            [
                ("queued", int(1000.25 * second), {}),
                ("prefill", int(1000.5 * second), {}),
                ("first_token", 1001 * second, {}),
                ("finished", int(1003.5 * second), {}),
            ],
            list(events_of(answered())),
        )

    def test_refused(self) -> None:
        """The error of a request that never began is the only event."""
        record = arrived(429)
        record.fails(QueueFull("full"))
        record.ends(20.5)
        self.assertEqual([("error", int(1000.5 * 10**9), {"error.type": "RateLimitError"})], list(events_of(record)))


class ErrorTests(SynchronousTestCase):
    """What became of a request, as the status of its span."""

    def check(self, name: str, error: str | None, record: RequestRecord) -> None:
        """Compare the last event and the error of a record that has ended."""
        self.assertEqual((name, error), ([*events_of(record)][-1][0], error_of(record)))

    def test_ends(self) -> None:
        """Who left has cancelled it; what an operator ends is no error; what the server's stop broke off is one."""
        ends: dict[Outcome, tuple[str, str | None]] = {
            "disconnected": ("cancelled", "cancelled"),
            "aborted": ("aborted", None),
            "unfinished": ("error", "unfinished"),
        }
        for outcome, (name, error) in ends.items():
            record = arrived()
            record.ends(21.0, outcome)
            self.check(name, error, record)

    def test_no_type(self) -> None:
        """An error without a type goes by its status."""
        record = arrived(418)
        record.fails(InjectedFailure(418, "", "no"))
        record.ends(21.0)
        self.check("error", "418", record)
        record.http = None
        self.check("error", "error", record)

    def test_threshold(self) -> None:
        """An answer that says that too little was cached is one."""
        record = arrived()
        record.choice_ended(0, 0, "cache_threshold")
        record.ends(21.0)
        self.check("finished", None, record)

    def test_injected(self) -> None:
        """A fault that only takes time is no error; one that breaks the answer off, or leaves none, is."""
        late, cut, none = answered(), arrived(), arrived(0)
        late.fault = cut.fault = none.fault = "rule"
        late.ends(24.0)
        self.check("finished", None, late)
        cut.choice_ended(0, 3, None)
        cut.ends(21.0)
        self.check("error", "injected", cut)
        none.ends(21.0)
        self.check("error", "injected", none)
