"""Spans of requests to a whole rank."""

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode, Tracer, format_span_id, format_trace_id
from zope.interface.verify import verifyObject

from tests.harness import EPOCH, RankTestCase
from tests.tracing.recording import PARENT, TRACE, TRACEPARENT, Recording
from vllmsim.interfaces import IRequestObserver
from vllmsim.tracing.spans import RequestSpans


class SpanTests(RankTestCase):
    """A rank whose spans are kept."""

    def trace(self, *words: str, recording: Recording | None = None) -> None:
        """Start a rank."""
        self.make_rank(*words)
        self.recording = recording or Recording()
        self.open: Tracer | None = self.recording.tracer
        spans = RequestSpans(lambda: self.open, self.rank.resource.working, 1024)
        verifyObject(IRequestObserver, spans)
        self.rank.journal.observers.append(spans)

    @property
    def span(self) -> ReadableSpan:
        """The only span."""
        (span,) = self.recording.spans
        return span

    def attribute(self, name: str) -> Any:
        """Read an attribute of the only span."""
        return (self.span.attributes or {}).get(name)

    def test_root(self) -> None:
        """A request without a trace begins one, and has one span, which lasts from its arrival to its end."""
        self.trace("--time-to-first-token", "2s", "--inter-token-latency", "1s")
        exchange = self.chat(max_tokens=3, ignore_eos=True)
        self.clock.pump([1] * 4 + [0])
        self.assertEqual(200, exchange.status)
        self.assertEqual(("llm_request", SpanKind.SERVER, None), (self.span.name, self.span.kind, self.span.parent))
        assert self.span.start_time is not None
        assert self.span.end_time is not None
        self.assertEqual(int(EPOCH * 1e9), self.span.start_time)
        self.assertEqual(4 * 10**9, self.span.end_time - self.span.start_time)
        events = [(event.name, round((event.timestamp - self.span.start_time) / 1e9, 6)) for event in self.span.events]
        self.assertEqual([("queued", 0.0), ("prefill", 0.0), ("first_token", 2.0), ("finished", 4.0)], events)
        self.assertAlmostEqual(2.0, self.attribute("gen_ai.latency.time_to_first_token"), 6)
        self.assertAlmostEqual(2.0, self.attribute("gen_ai.latency.time_in_model_decode"), 6)
        self.assertEqual(StatusCode.UNSET, self.span.status.status_code)

    def test_child(self) -> None:
        """A request that is part of a trace has a span in it, below its caller's, whose state is handed on."""
        self.trace()
        self.chat(traceparent=TRACEPARENT)  # a member of the body that means nothing
        self.post("/v1/completions", {"prompt": "a"}, traceparent=TRACEPARENT, tracestate="a=1,b=2")
        context, parent = self.recording.spans[1].context, self.recording.spans[1].parent
        assert context is not None
        assert parent is not None
        self.assertEqual((TRACE, PARENT), (format_trace_id(context.trace_id), format_span_id(parent.span_id)))
        self.assertEqual({"a": "1", "b": "2"}, dict(context.trace_state))
        self.assertIsNone(self.recording.spans[0].parent)

    def test_wrong_headers(self) -> None:
        """A traceparent that is wrong, or longer than any, says nothing; nor does a state that is longer than most."""
        self.trace()
        wrong = ("00-0-0-01", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", TRACEPARENT + "-x", "é", "")
        for text in (*wrong, f"cc-{TRACE}-{PARENT}-01-" + "x" * 500):
            self.post("/v1/completions", {"prompt": "a"}, traceparent=text, tracestate="a=1")
        self.assertEqual([None] * 7, [span.parent for span in self.recording.spans])
        self.post("/v1/completions", {"prompt": "a"}, traceparent=TRACEPARENT, tracestate="a=" + "1" * 511)
        context = self.recording.spans[-1].context
        assert context is not None
        self.assertEqual((TRACE, {}), (format_trace_id(context.trace_id), dict(context.trace_state)))

    def test_sampled(self) -> None:
        """What a client does not record is not recorded here either, whoever else is."""
        self.trace(recording=Recording(ParentBased(ALWAYS_ON)))
        self.post("/v1/completions", {"prompt": "a"}, traceparent=TRACEPARENT[:-1] + "0")
        self.assertEqual([], self.recording.spans)
        self.assertEqual(TRACE, self.get("/admin/requests/1").json()["trace_id"])
        self.complete()
        self.assertEqual(1, len(self.recording.spans))

    def test_not_sampled(self) -> None:
        """A sampler may leave out what nobody else records, and keep what a client does."""
        self.trace(recording=Recording(ParentBased(ALWAYS_OFF)))
        self.complete()
        self.post("/v1/completions", {"prompt": "a"}, traceparent=TRACEPARENT)
        self.assertEqual(1, len(self.recording.spans))

    def test_journal(self) -> None:
        """The journal tells in which trace a request has its span."""
        self.trace()
        self.complete()
        context = self.span.context
        assert context is not None
        self.assertEqual(format_trace_id(context.trace_id), self.get("/admin/requests/1").json()["trace_id"])

    def test_without_journal(self) -> None:
        """Requests have spans though the journal keeps none, and none is begun when nobody traces."""
        self.trace("--journal-size", "0")
        self.complete()
        self.assertEqual(1, len(self.recording.spans))
        self.assertEqual([], self.get("/admin/requests").json()["requests"])

    def test_routes(self) -> None:
        """Every request that the model works for has a span, and none that it does not."""
        self.trace()
        for path, body in (
            ("/tokenize", {"prompt": "a"}),
            ("/v1/completions/render", {"prompt": "a"}),
            ("/v1/no/such/path", {}),
            ("/admin/config", {}),
        ):
            self.post(path, body)
        self.get("/health")
        self.assertEqual([], self.recording.spans)
        message = [{"role": "user", "content": "a"}]
        asked = {
            "/v1/chat/completions": {"messages": message},
            "/v1/chat/completions/batch": {"messages": [message, message]},
            "/v1/completions": {"prompt": "a"},
            "/v1/messages": {"model": "Qwen/Qwen3-0.6B", "messages": message, "max_tokens": 2},
            "/v1/responses": {"input": "a"},
            "/invocations": {"prompt": "a"},
            "/inference/v1/generate": {"token_ids": [1], "sampling_params": {}},
            "/v1/embeddings": {"input": "a"},
            "/pooling": {"input": "a", "task": "embed"},
            "/classify": {"input": "a"},
            "/v1/score": {"queries": "a", "documents": ["b"]},
            "/v1/rerank": {"query": "a", "documents": ["b"]},
            "/v2/embed": {"texts": ["a"], "embedding_types": ["float"]},
        }
        for path, value in asked.items():
            self.assertEqual(200, self.post(path, value).status, path)
        self.assertEqual([*asked], [(span.attributes or {})["http.route"] for span in self.recording.spans])

    def test_choices(self) -> None:
        """A request with several prompts and choices has one span, with all that was generated."""
        self.trace()
        usage = self.complete(["a", "b c"], n=2, max_tokens=5, ignore_eos=True).json()["usage"]
        self.assertEqual(20, usage["completion_tokens"])
        self.assertEqual(20, self.attribute("gen_ai.usage.completion_tokens"))
        self.assertEqual(3, self.attribute("gen_ai.usage.prompt_tokens"))
        self.assertEqual(("length",) * 4, self.attribute("gen_ai.response.finish_reasons"))

    def test_refused(self) -> None:
        """A request that is refused has a span whose status is the error's type, and no other word of it."""
        self.trace()
        self.complete(model="nix")
        self.assertEqual(
            (StatusCode.ERROR, "NotFoundError"), (self.span.status.status_code, self.span.status.description)
        )
        self.assertEqual(404, self.attribute("http.response.status_code"))
        self.post("/v1/completions", b"{")
        self.assertEqual("Bad Request", self.recording.spans[1].status.description)

    def test_turned_away(self) -> None:
        """A request that a middleware turns away has a span, below that of who sent it."""
        self.trace("--api-key", "secret")
        self.assertEqual(401, self.post("/v1/completions", {"prompt": "a"}, traceparent=TRACEPARENT).status)
        assert self.span.parent is not None
        self.assertEqual(PARENT, format_span_id(self.span.parent.span_id))
        self.assertEqual(
            (StatusCode.ERROR, 401), (self.span.status.status_code, self.attribute("http.response.status_code"))
        )
        self.assertEqual(["error"], [event.name for event in self.span.events])

    def test_disconnected(self) -> None:
        """A client that leaves has cancelled its request."""
        self.trace("--time-to-first-token", "1s")
        exchange = self.complete(stream=True)
        self.clock.advance(0.5)
        exchange.drop()
        self.clock.advance(0)
        self.assertEqual((StatusCode.ERROR, "cancelled"), (self.span.status.status_code, self.span.status.description))
        self.assertEqual(["queued", "prefill", "cancelled"], [event.name for event in self.span.events])

    def test_aborted(self) -> None:
        """A request that an operator ends was answered."""
        self.trace("--time-to-first-token", "1s")
        self.complete()
        self.post("/abort_requests", {})
        self.assertEqual(StatusCode.UNSET, self.span.status.status_code)
        self.assertEqual(("abort",), self.attribute("gen_ai.response.finish_reasons"))
        self.assertEqual("aborted", self.span.events[-1].name)

    def test_stopped(self) -> None:
        """What the server's stop breaks off has a span too."""
        self.trace("--time-to-first-token", "1s")
        self.complete()
        self.rank.journal.stop()
        self.assertEqual("unfinished", self.span.status.description)

    def test_background(self) -> None:
        """A response that is made in the background has a span when it is made, below that of who asked for it."""
        self.trace("--time-to-first-token", "1s", "--enable-responses-store")
        self.post("/v1/responses", {"input": "a", "background": True}, traceparent=TRACEPARENT)
        self.assertEqual([], self.recording.spans)
        self.clock.advance(1)
        self.clock.advance(0)
        assert self.span.parent is not None
        assert self.span.start_time is not None
        assert self.span.end_time is not None
        self.assertEqual(PARENT, format_span_id(self.span.parent.span_id))
        self.assertEqual(10**9, self.span.end_time - self.span.start_time)

    def test_closed(self) -> None:
        """Nothing is done for requests when spans are made no more."""
        self.trace()
        self.open = None
        self.complete()
        self.assertEqual([], self.recording.spans)


class BalancedTests(RankTestCase):
    """Two ranks behind one port."""

    def test_ranks(self) -> None:
        """A span tells which rank has served its request."""
        ranks = self.make_ranks("-dp", "2", "--data-parallel-internal-lb")
        recording = Recording()
        spans = RequestSpans(lambda: recording.tracer, ranks[0].resource.working, 1024)
        ranks[0].journal.observers.append(spans)
        self.post("/v1/completions", {"prompt": "a"}, X_data_parallel_rank="1")
        self.post("/v1/completions", {"prompt": "a"}, X_data_parallel_rank="0")
        self.assertEqual([1, 0], [(span.attributes or {})["vllmsim.rank"] for span in recording.spans])
