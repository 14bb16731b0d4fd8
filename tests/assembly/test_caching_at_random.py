"""A rank with a KV cache, under whatever clients and operators may do: nothing is lost, and nobody waits for ever."""

from collections import Counter
from itertools import islice
from typing import Any, cast
from unittest import mock

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

from tests.assembly.test_caching import CachingTestCase
from tests.harness import Exchange
from tests.kvcache.fakes import RecordingListener, slowly
from vllmsim.kvcache.cache import KVCache
from vllmsim.shifts import Shifts

BLOCK = 8
ADAPTERS = ("ad", "other")
PATHS = ("/a", "/b")
WORDS = ["--model", "m", "--enable-kvcache", "--enable-prompt-tokens-details", "--enable-sleep-mode", "--block-size",
         str(BLOCK), "--max-num-seqs", "6"]  # fmt: skip
prompts = st.tuples(st.integers(1, 3), st.integers(1, 40)).map(lambda two: list(range(two[0], two[0] + two[1])))


class RankMachine(RuleBasedStateMachine):
    """Clients come and go, time passes, operators do what they can."""

    def __init__(self) -> None:
        super().__init__()
        self.listener = RecordingListener()
        self.test = CachingTestCase()
        self.exchanges: list[Exchange] = []

    @initialize(
        blocks=st.integers(2, 12),
        slow=st.booleans(),
        prefill=st.sampled_from(("0", "1s", "3s")),
        gap=st.sampled_from(("0", "1s")),
        mode=st.sampled_from(("echo", "random")),
        part=st.integers(1, 3),
    )
    def begin(self, blocks: int, slow: bool, prefill: str, gap: str, mode: str, part: int) -> None:
        """Start a rank whose longest sequences take some part of the blocks."""
        self.window = -(-(blocks - 1) // part) * BLOCK
        words = ["--kv-cache-size", str(blocks), "--max-model-len", str(self.window)]
        words += ["--time-to-first-token", prefill, "--inter-token-latency", gap]

        self.test.make_rank(*WORDS, *words, "--mode", mode, "--lora-modules", "ad=/a")
        if slow:
            self.patched = mock.patch.object(Shifts, "run", slowly)
            self.patched.start()
            self.test.addCleanup(self.patched.stop)
        self.cache = cast("KVCache", self.test.rank.simulator._cache)
        self.pool = self.cache._pool
        self.pool._listeners = [*self.pool._listeners, self.listener]

    def send(self, path: str, **query: Any) -> Exchange:
        """Do what an operator does."""
        return self.test.post(path + "?" + "&".join(f"{name}={value}" for name, value in query.items()), b"")

    @rule(
        asked=st.lists(prompts, min_size=1, max_size=3),
        n=st.integers(1, 5),
        most=st.integers(1, 100),
        stream=st.booleans(),
        model=st.sampled_from(("m", "m", *ADAPTERS)),
        more=st.sampled_from(
            (
                {},
                {"cache_salt": "s"},
                {"cache_hit_threshold": 0.5},
                {"prompt_logprobs": 0},
                {"kv_transfer_params": {"do_remote_prefill": True, "remote_num_tokens": 9}},
                {"kv_transfer_params": {"do_remote_decode": True}},
            )
        ),
    )
    def ask(self, asked: list[list[int]], n: int, most: int, stream: bool, model: str, more: dict[str, Any]) -> None:
        """Have prompts completed."""
        if stream and "prompt_logprobs" in more:
            more = {}
        asked = [each[: self.window - 1] for each in asked]
        room = self.window - max(map(len, asked))
        fields = {"max_tokens": min(most, room), "n": n, "model": model, "stream": stream}
        self.exchanges.append(self.test.complete(asked, ignore_eos=True, **fields, **more))

    @precondition(lambda self: any(not each.complete for each in self.exchanges))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A client that waits for something goes away."""
        exchange = data.draw(st.sampled_from([each for each in self.exchanges if not each.complete]))
        self.exchanges.remove(exchange)
        exchange.drop()

    @rule(seconds=st.sampled_from((0, 0.1, 0.4, 1, 3)))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.test.clock.advance(seconds)

    @rule(mode=st.sampled_from(("abort", "keep", "wait")), clear=st.booleans())
    def pause(self, mode: str, clear: bool) -> None:
        """The rank pauses."""
        self.exchanges.append(self.send("/pause", mode=mode, clear_cache=str(clear).lower()))

    @rule()
    def resume(self) -> None:
        """It goes on."""
        self.send("/resume")

    @rule(level=st.integers(0, 2), mode=st.sampled_from(("abort", "keep", "wait")))
    def sleep(self, level: int, mode: str) -> None:
        """The rank sleeps."""
        self.exchanges.append(self.send("/sleep", level=level, mode=mode))

    @rule()
    def wake_up(self) -> None:
        """It wakes up."""
        self.send("/wake_up")

    @rule(running=st.booleans())
    def reset(self, running: bool) -> None:
        """The prefix cache is to be empty."""
        used = self.pool.used - self.cache._pressure.held
        answer = self.send("/reset_prefix_cache", reset_running_requests=str(running).lower()).json()
        assert answer == {"success": running or not used}, (answer, used)

    @rule(share=st.sampled_from((0, 0.3, 0.7, 1)))
    def occupy(self, share: float) -> None:
        """Blocks are used by nobody."""
        self.cache.occupy(share)

    @rule()
    def abort(self) -> None:
        """All sequences are ended."""
        self.test.post("/abort_requests", {})

    @rule(name=st.sampled_from(ADAPTERS), path=st.sampled_from(PATHS), in_place=st.booleans())
    def load(self, name: str, path: str, in_place: bool) -> None:
        """An adapter is loaded, perhaps in the place of another."""
        body = {"lora_name": name, "lora_path": path, "load_inplace": in_place}
        assert self.test.post("/v1/load_lora_adapter", body).status in (200, 400)

    @rule(name=st.sampled_from(ADAPTERS))
    def unload(self, name: str) -> None:
        """An adapter is unloaded."""
        assert self.test.post("/v1/unload_lora_adapter", {"lora_name": name}).status in (200, 404)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Whoever runs has all blocks that are used and promised, or nobody; all is told as it is."""
        if not hasattr(self, "cache"):
            return
        running, pool, pressure = list(self.cache._running), self.pool, self.cache._pressure
        held = Counter(block for each in running for block in each._blocks)
        held.update(pressure._blocks)
        holders = Counter({block: count for block, count in enumerate(pool._holders) if block and count})
        assert held == holders, (held, holders)
        assert pool.used == len(held) + pool.aside
        assert pool._promised == sum(each._promised for each in running)
        assert pool.room >= 0
        assert self.test.value("num_requests_running") == len(running)
        sequences = self.test.rank.backlog.sequences
        assert self.test.value("num_requests_waiting") == len(sequences) - len(running)
        assert self.cache.waiting <= len(sequences) - len(running)
        assert round(self.test.value("kv_cache_usage_perc"), 9) == round(pool.used / pool.usable, 9)
        held_now = Counter(digest for digest in pool._digests if digest is not None)
        assert held_now == +self.listener.known, (held_now, self.listener.known)
        assert pool.cached == held_now.total()
        self.test.clock.advance(0)
        assert pressure.settled or not pool.room
        for first in islice(self.cache._waiting.values(), 1):
            needed = -(-(len(first.prompt.ids) + len(first.answer) - 1) // BLOCK)
            assert needed > pool.room - pressure.missing, "there is room for who waits"

    def teardown(self) -> None:
        """Everyone comes to an end in time, and leaves nothing."""
        if not hasattr(self, "cache"):
            return
        self.send("/resume")
        self.send("/wake_up")
        for _ in range(200):
            if not self.test.rank.simulator.requests:
                break
            self.test.clock.advance(25)
        assert not self.test.rank.backlog.sequences
        for each in self.exchanges:
            assert each.complete, each.raw
            assert each.status in (200, 404, 503), each.raw
        self.nothing_is_lost()
        assert self.pool.used == self.cache._pressure.held
        assert not self.test.rank.slots.running
        sources = "local_compute", "local_cache_hit", "external_kv_transfer"
        told = [self.test.value("prompt_tokens_by_source_total", source=source) for source in sources]
        assert self.test.value("prompt_tokens_total") == sum(told)
        assert self.test.value("prompt_tokens_cached_total") == sum(told[1:])
        assert self.test.value("prefix_cache_hits_total") <= self.test.value("prefix_cache_queries_total")
        self.test.clean_up()


class RandomUseTests(SynchronousTestCase):
    """A rank that is used at random."""

    def test_use(self) -> None:
        """Whatever happens, all blocks that are used are somebody's, and everyone is served in the end."""
        run_state_machine_as_test(
            RankMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None, derandomize=True)
        )
