"""The journal and the gauges, under whatever clients and operators may do: they never say two things."""

import re
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Exchange, RankTestCase
from vllmsim.records import RequestRecord
from vllmsim.scheduling.sequence import Sequence

WORDS = (
    "--model", "m", "--max-num-seqs", "3", "--max-waiting-queue-length", "6", "--block-size", "8", "--lora-modules",
    '[{"name": "a", "path": "/a"}, {"name": "b", "path": "/b"}]', "--enable-responses-store", "--mode", "echo",
    "--lora-info-exact", "--max-loras", "1",
)  # fmt: skip
MODELS = (None, "m", "a", "b", "nix")


class JournalMachine(RuleBasedStateMachine):
    """Clients come and go, time passes, operators do what they can."""

    def __init__(self) -> None:
        super().__init__()
        self.test = RankTestCase()
        self.exchanges: list[Exchange] = []
        self.sent = 0

    @initialize(
        prefill=st.sampled_from(("0", "1s")),
        gap=st.sampled_from(("0", "1s")),
        blocks=st.sampled_from((None, 4, 6)),
        queued=st.sampled_from((None, 5)),
        more=st.sampled_from(((), ("--scheduling-policy", "priority"), ("--lora-load-time", "1s"))),
    )
    def begin(self, prefill: str, gap: str, blocks: int | None, queued: int | None, more: tuple[str, ...]) -> None:
        """Start a rank."""
        cache = () if blocks is None else ("--enable-kvcache", "--zmq-endpoint=", "--kv-cache-size", str(blocks))
        limit = () if queued is None else ("--max-num-queued-reqs", str(queued))
        self.test.make_rank(
            *WORDS, *more, *cache, *limit, "--time-to-first-token", prefill, "--inter-token-latency", gap
        )

    def send(self, path: str, body: dict[str, Any], model: str | None) -> None:
        """Send a request that the journal is to know."""
        named = {} if model is None else {"model": model}
        self.sent += 1
        self.exchanges.append(self.test.post(path, {**body, **named}))

    @rule(
        prompts=st.integers(1, 3),
        n=st.integers(1, 3),
        most=st.integers(0, 5),
        stream=st.booleans(),
        model=st.sampled_from(MODELS),
        more=st.sampled_from(({}, {"cache_hit_threshold": 0.5}, {"priority": 1})),
    )
    def complete(self, prompts: int, n: int, most: int, stream: bool, model: str | None, more: dict[str, Any]) -> None:
        """Have prompts completed; no tokens are too few."""
        # No two begin with the same words, so that each needs blocks of its own.
        texts = [f"{self.sent}-{number} " + "word " * 9 for number in range(prompts)]
        body = {"prompt": texts, "n": n, "max_tokens": most, "stream": stream}
        self.send("/v1/completions", body | more, model)

    @rule(background=st.booleans(), model=st.sampled_from(MODELS))
    def respond(self, background: bool, model: str | None) -> None:
        """Have a response made, perhaps in the background."""
        self.send("/v1/responses", {"input": "one two", "background": background, "store": True}, model)

    @rule(inputs=st.integers(1, 5), model=st.sampled_from(MODELS))
    def embed(self, inputs: int, model: str | None) -> None:
        """Have vectors made, which are no sequences."""
        self.send("/v1/embeddings", {"input": ["one"] * inputs}, model)

    @rule(path=st.sampled_from(("/v1/chat/completions", "/tokenize", "/nowhere")))
    def ask_in_vain(self, path: str) -> None:
        """Send what is none."""
        self.send(path, {"messages": 1}, None)

    @precondition(lambda self: any(not each.complete for each in self.exchanges))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A client that waits for something goes away."""
        data.draw(st.sampled_from([each for each in self.exchanges if not each.complete])).drop()

    @rule(seconds=st.sampled_from((0, 0.5, 1, 3)))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.test.clock.advance(seconds)

    @rule(mode=st.sampled_from(("abort", "keep", "wait")))
    def pause(self, mode: str) -> None:
        """The rank pauses."""
        self.test.post(f"/pause?mode={mode}", b"")

    @rule()
    def resume(self) -> None:
        """It goes on."""
        self.test.post("/resume", b"")

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        """A request is ended, or all are."""
        ids = [record.answer_id for record in self.records() if record.answer_id]
        named = data.draw(st.sampled_from([None, *ids]))
        self.test.post("/abort_requests", {} if named is None else {"request_ids": [named]})

    @rule(name=st.sampled_from(("a", "b")), loaded=st.booleans())
    def adapt(self, name: str, loaded: bool) -> None:
        """An adapter comes or goes; requests that were let in go on."""
        if loaded:
            self.test.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": "/x", "load_inplace": True})
        else:
            self.test.post("/v1/unload_lora_adapter", {"lora_name": name})

    def records(self) -> list[RequestRecord]:
        """List what the journal remembers."""
        return self.test.rank.journal.records()

    def gauge(self, name: str) -> float:
        """Read a gauge as a scraper does."""
        return self.test.sample(f'vllm:num_requests_{name}{{engine="0",model_name="m"}}')

    @invariant()
    def gauges_are_the_journal(self) -> None:
        """As many sequences wait and run by the journal as by the gauges; those of requests that have ended do not."""
        if not hasattr(self.test, "rank"):
            return
        records = self.records()
        waiting, running = (sum(getattr(record, name) for record in records) for name in ("waiting", "running"))
        assert (self.gauge("waiting"), self.gauge("running")) == (waiting, running)
        assert not any(record.waiting or record.running for record in records if record.outcome)
        assert self.counted(lambda each: each.submission.record) == Counter(
            {record: record.waiting + record.running for record in records if record.waiting + record.running}
        )
        assert len(records) == self.sent

    def counted(self, key: Any) -> Counter[Any]:
        """Count the sequences that are in by something of theirs."""
        sequences: list[Sequence] = list(self.test.rank.backlog.sequences)
        return Counter(map(key, sequences))

    @invariant()
    def adapters_are_the_journal(self) -> None:
        """So it is for each adapter."""
        if not hasattr(self.test, "rank"):
            return
        records = self.records()
        told: Counter[str] = Counter()
        for record in records:
            told[record.model] += record.waiting + record.running
        assert self.counted(lambda each: each.submission.request.model) == +told
        named = tuple(
            ",".join(sorted({record.adapter for record in records if record.adapter and getattr(record, name)}))
            for name in ("running", "waiting")
        )
        assert self.adapters_in_metrics() == named

    def adapters_in_metrics(self) -> tuple[str, str]:
        """Read which adapters have sequences that run, and that wait, as a scraper does: the latest series counts."""
        page = self.test.get("/metrics?name[]=vllm:lora_requests_info").body.decode()
        _, latest = max((float(line.rpartition(" ")[2]), line) for line in page.splitlines() if line.startswith("vllm"))
        running, waiting = re.findall('_lora_adapters="([^"]*)"', latest)
        return running, waiting

    def teardown(self) -> None:
        """Everyone comes to an end in time, and every request has an outcome."""
        if not hasattr(self.test, "rank"):
            return
        self.resume()
        for _ in range(100):
            if not self.test.rank.simulator.requests:
                break
            self.test.clock.advance(5)
        self.gauges_are_the_journal()
        for record in self.records():
            assert record.outcome is not None, record
            assert record.finished is not None
            tokens = sum(count for count, _ in record.choices.values())
            assert tokens == record.generated_tokens
            if record.outcome == "completed" and record.sampling is not None:
                reasons = {reason for _, reason in record.choices.values()}
                assert reasons <= {"stop", "length", "cache_threshold"}, record
                assert len(record.choices) == record.prompts * record.sampling.n
                assert record.queued is not None
        self.test.clean_up()


class RandomUseTests(SynchronousTestCase):
    """A rank that is used at random."""

    def test_use(self) -> None:
        """Whatever happens, the journal says what the gauges say, and no request is lost."""
        run_state_machine_as_test(
            JournalMachine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True)
        )
