"""Fake metrics."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.reading import rewrite
from vllmsim.config.fakemetrics import FINISH_REASONS, merge_fake_metrics, parse_fake_metrics
from vllmsim.config.schema import Configuration
from vllmsim.metrics.cacheconfig import cache_config_labels
from vllmsim.metrics.exposition import Families, Family
from vllmsim.metrics.families import RankMetrics
from vllmsim.metrics.series import Counter, Histogram
from vllmsim.metrics.synthetic import SyntheticMetrics

EPOCH = 1795339833.0
COUNTS = st.lists(st.integers(0, 2**63 - 1), max_size=19)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "running-requests": st.floats(0, 1e300) | st.just("ramp:0:1e300:1s"),
        "waiting-requests": st.just("oscillate:5:1:100ms"),
        "kv-cache-usage": st.floats(0, 1),
        "loras": st.lists(
            st.fixed_dictionaries({"running": st.sampled_from(["", "a", 'b"\n\\,é']), "timestamp": st.floats(0, 1e12)}),
            max_size=4,
        ),
        "ttft-buckets-values": COUNTS,
        "tpot-buckets-values": COUNTS,
        "request-prompt-tokens": COUNTS,
        "total-prompt-tokens": st.integers(0, 2**63 - 1),
        "request-success-total": st.dictionaries(st.sampled_from([*FINISH_REASONS, "abort"]), st.integers(0, 9)),
    },
)


def unused() -> RankMetrics:
    """Make the metrics of a server that has done nothing."""
    return RankMetrics("0", "m", 1024, cache_config_labels(Configuration()), EPOCH)


class FakeTestCase(SynchronousTestCase):
    """Tests with a page of fake metrics."""

    def setUp(self) -> None:
        """Show what a server shows that is told to fake nothing."""
        self.clock = Clock()
        self.fake = parse_fake_metrics({})
        self.metrics = SyntheticMetrics(unused().families, self.clock, lambda: EPOCH + self.clock.seconds(), 0.1)
        self.metrics.show(self.fake, 3)

    def show(self, **members: Any) -> None:
        """Begin with some members, whose names have ``_`` for ``-``."""
        self.fake = parse_fake_metrics({name.replace("_", "-"): value for name, value in members.items()})
        self.metrics.show(self.fake, 3)

    def update(self, **members: Any) -> None:
        """Change some members."""
        self.fake = merge_fake_metrics(self.fake, {name.replace("_", "-"): value for name, value in members.items()})
        self.metrics.show(self.fake, 3)

    def lines(self, name: str) -> dict[str, float]:
        """Read the samples of a name, by those of their labels that not all have."""
        samples = {}
        for line in self.metrics.write({name}).splitlines():
            if not line.startswith("#"):
                key, _, value = line.rpartition(" ")
                labels = key.partition("{")[2].rstrip("}").split(",")
                own = [each for each in labels if not each.startswith(("engine=", "model_name="))]
                samples[",".join(own)] = float(value)
        return samples

    def value(self, name: str) -> float | None:
        """Read the one sample of a name, if it is there."""
        return self.lines(name).get("")

    def buckets(self, name: str, *bounds: str) -> list[float]:
        """Read some buckets of a histogram."""
        return [self.lines(f"{name}_bucket")[f'le="{bound}"'] for bound in bounds]


class LevelTests(FakeTestCase):
    """Numbers and functions of time."""

    def test_numbers(self) -> None:
        """Numbers are shown under all names, those of requests as whole numbers."""
        self.show(running_requests=10.9, waiting_requests=30, kv_cache_usage=0.4)
        self.assertEqual(10, self.value("vllm:num_requests_running"))
        self.assertEqual(30, self.value("vllm:num_requests_waiting"))
        self.assertEqual(
            {'reason="capacity"': 30, 'reason="deferred"': 0}, self.lines("vllm:num_requests_waiting_by_reason")
        )
        self.assertEqual((0.4, 0.4), (self.value("vllm:kv_cache_usage_perc"), self.value("vllm:gpu_cache_usage_perc")))

    def test_functions(self) -> None:
        """Functions follow the time since they were set, whenever that was; requests are whole numbers."""
        self.clock.advance(12.34)
        self.show(running_requests="ramp:0:10:1s", waiting_requests="squarewave:10:15:2s", kv_cache_usage="ramp:1:0:4s")
        seen = []
        for _ in range(6):
            names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
            seen.append(tuple(self.value(f"vllm:{name}") for name in names))
            self.clock.advance(0.3)
        self.assertEqual([0, 3, 6, 9, 10, 10], [running for running, _, _ in seen])
        self.assertEqual([10, 10, 10, 10, 15, 15], [waiting for _, waiting, _ in seen])
        self.assertEqual([1, 0.925, 0.85, 0.775, 0.7, 0.625], [round(usage or 0, 9) for _, _, usage in seen])
        self.assertEqual(15, self.lines("vllm:num_requests_waiting_by_reason")['reason="capacity"'])

    def test_refresh(self) -> None:
        """Between refreshes values stay as they were at the last one."""
        self.show(kv_cache_usage="ramp:0:1:1s")
        seen = []
        for _ in range(5):
            self.clock.advance(0.07)
            seen.append(round(self.value("vllm:kv_cache_usage_perc") or 0, 9))
        self.assertEqual([0, 0.1, 0.2, 0.2, 0.3], seen)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_replaced(self) -> None:
        """A number takes the place of a function and a function that of a number; one that stays goes on."""
        self.show(running_requests="ramp:0:10:1s", waiting_requests="ramp:0:10:1s")
        self.clock.advance(0.5)
        self.update(running_requests=7, waiting_requests="ramp:0:10:1s")
        self.assertEqual((7, 5), (self.value("vllm:num_requests_running"), self.value("vllm:num_requests_waiting")))
        self.update(running_requests="ramp:0:10:1s", waiting_requests="ramp:0:20:1s")
        self.assertEqual((0, 0), (self.value("vllm:num_requests_running"), self.value("vllm:num_requests_waiting")))
        self.clock.advance(0.5)
        self.assertEqual((5, 10), (self.value("vllm:num_requests_running"), self.value("vllm:num_requests_waiting")))

    def test_forgotten(self) -> None:
        """What a whole new configuration does not name is as in a server that has done nothing."""
        idle = self.metrics.write()
        self.show(
            running_requests="ramp:5:9:1s", kv_cache_usage=1, loras=[{"running": "a"}], tpot_buckets_values=[],
            request_prompt_tokens=[], request_success_total={"tool_calls": 3}, total_generation_tokens=5,
        )  # fmt: skip
        self.assertNotEqual(idle, self.metrics.write())
        self.show()
        self.assertEqual(idle, self.metrics.write())


class HistogramTests(FakeTestCase):
    """Histograms, and the totals that follow from them."""

    def test_entries(self) -> None:
        """Each entry is so many observations on the bound of its bucket."""
        self.show(
            ttft_buckets_values=[1, 2, 3], tpot_buckets_values=[0, 0, 1, 2, 3], e2erl_buckets_values=[0, 1, 2],
            request_tpot_buckets_values=[0, 2, 4, 6, 8], queue_time_buckets_values=[0, 1, 2],
            inf_time_buckets_values=[0, 1, 2], prefill_time_buckets_values=[0, 1, 2],
            decode_time_buckets_values=[0, 1, 2], request_params_max_tokens=[10, 20, 30],
            request_max_generation_tokens=[10, 20, 30],
        )  # fmt: skip
        first = self.buckets("vllm:time_to_first_token_seconds", "0.001", "0.005", "0.01", "0.02", "+Inf")
        self.assertEqual([1, 3, 6, 6, 6], first)
        for name in ("inter_token_latency", "time_per_output_token"):
            bounds = ("0.01", "0.025", "0.05", "0.075", "0.1", "0.15")
            self.assertEqual([0, 0, 1, 3, 6, 6], self.buckets(f"vllm:{name}_seconds", *bounds))
        bounds = ("0.01", "0.025", "0.05", "0.075", "0.1", "0.15")
        mean = self.buckets("vllm:request_time_per_output_token_seconds", *bounds)
        self.assertEqual([0, 2, 6, 12, 20, 20], mean)
        for name in ("e2e_request_latency", *(f"request_{each}_time" for each in ("queue", "inference", "prefill"))):
            self.assertEqual([0, 1, 3, 3], self.buckets(f"vllm:{name}_seconds", "0.3", "0.5", "0.8", "1.0"))
        for name in ("request_params_max_tokens", "request_max_num_generation_tokens"):
            self.assertEqual([10, 30, 60, 60], self.buckets(f"vllm:{name}", "1.0", "2.0", "5.0", "10.0"))
            self.assertEqual(200, self.value(f"vllm:{name}_sum"))
        self.assertEqual(6, self.value("vllm:time_to_first_token_seconds_count"))
        self.assertAlmostEqual(0.041, self.value("vllm:time_to_first_token_seconds_sum") or 0)

    def test_above(self) -> None:
        """The entry behind the last bound, and all that follow it, are above all bounds."""
        self.show(ttft_buckets_values=[0] * 22 + [5], request_params_max_tokens=[0] * 10 + [3, 4])
        self.assertEqual([0, 5], self.buckets("vllm:time_to_first_token_seconds", "2560.0", "+Inf"))
        self.assertEqual([0, 7], self.buckets("vllm:request_params_max_tokens", "1000.0", "+Inf"))
        self.assertEqual(7007, self.value("vllm:request_params_max_tokens_sum"))

    def test_replaced(self) -> None:
        """An update takes the place of what was there, and adds nothing to it."""
        self.show(ttft_buckets_values=[1, 2, 3])
        self.update(ttft_buckets_values=[0, 1])
        self.assertEqual([0, 1, 1], self.buckets("vllm:time_to_first_token_seconds", "0.001", "0.005", "+Inf"))

    def test_removed(self) -> None:
        """An empty list removes the histogram under all its names, until there is another."""
        self.show(tpot_buckets_values=[1])
        self.update(tpot_buckets_values=[])
        page = self.metrics.write()
        for name in ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"):
            self.assertNotIn(name, page)
        self.update(tpot_buckets_values=[0, 4])
        self.assertEqual([0, 4], self.buckets("vllm:time_per_output_token_seconds", "0.01", "0.025"))

    def test_sums(self) -> None:
        """A total is the sum of all observations, whole numbers each; above all bounds they are the last and 1."""
        for bounds, entries, total in (
            ((10,), [1], 10), ((10, 20), [2, 3], 80), ((10, 20, 50), [1, 1, 1, 1], 131),
            ((1, 10, 100), [0, 5, 0, 2], 252), ((10, 100, 1000), [0, 0, 0, 4], 4004),
            ((10, 20), [0, 0, 0], 0), ((10.9,), [1], 10),
        ):  # fmt: skip
            metrics = RankMetrics("0", "m", 1024, {}, EPOCH, buckets={"request_tokens": bounds})
            self.metrics = SyntheticMetrics(metrics.families, self.clock, lambda: EPOCH, 0.1)
            self.show(request_prompt_tokens=entries)
            self.assertEqual(total, self.value("vllm:prompt_tokens_total"))


class TotalTests(FakeTestCase):
    """Counters."""

    def test_totals(self) -> None:
        """A total is given, or follows from its histogram; what comes later counts."""
        for histogram, total, name in (
            ("request_prompt_tokens", "total_prompt_tokens", "vllm:prompt_tokens_total"),
            ("request_generation_tokens", "total_generation_tokens", "vllm:generation_tokens_total"),
        ):
            steps: list[list[tuple[dict[str, Any], float | None]]] = [
                [({histogram: [1, 2, 3], total: 12345}, 12345), ({histogram: [10, 20]}, 50), ({total: 58}, 58)],
                [({histogram: [1, 2, 3]}, 20), ({histogram: [10, 20]}, 50), ({total: 58}, 58)],
                [({}, 0), ({total: 58}, 58), ({histogram: [10, 20]}, 50)],
                [({histogram: [1, 2], total: 12345}, 12345), ({}, 12345), ({histogram: []}, None)],
                [({total: 100}, 100), ({total: 300}, 300), ({histogram: [10, 20], total: 999}, 999)],
                [({histogram: [10, 20, 30]}, 200), ({histogram: [], total: 7}, 7), ({histogram: None}, 7)],
            ]
            for start, *updates in steps:
                self.show(**start[0])
                self.assertEqual(start[1], self.value(name))
                for update, expected in updates:
                    self.update(**update)
                    self.assertEqual(expected, self.value(name), update)

    def test_endings(self) -> None:
        """Endings are shown by reason: vLLM's five, and with any named those of llm-d-inference-sim."""
        known = ("stop", "length", "abort", "error", "repetition")
        name = "vllm:request_success_total"
        self.assertEqual({f'finished_reason="{each}"': 0.0 for each in known}, self.lines(name))
        self.update(request_success_total={"stop": 20, "remote_decode": 2})
        expected = dict.fromkeys((*known, *FINISH_REASONS), 0) | {"stop": 20, "remote_decode": 2}
        self.assertEqual({f'finished_reason="{each}"': count for each, count in expected.items()}, self.lines(name))
        self.update(request_success_total={"abort": 3})
        expected |= {"stop": 0, "remote_decode": 0, "abort": 3}
        self.assertEqual({f'finished_reason="{each}"': count for each, count in expected.items()}, self.lines(name))

    def test_prefix_cache(self) -> None:
        """Hits and queries are shown as they are given."""
        self.show(prefix_cache_hits=750, prefix_cache_queries=2000)
        values = [self.value(f"vllm:prefix_cache_{each}_total") for each in ("hits", "queries")]
        self.assertEqual([750, 2000], values)

    def test_created(self) -> None:
        """What became less counts from then on, and what became more goes on counting."""

        def since(name: str) -> float:
            return (self.value(f"vllm:{name}_created") or 0) - EPOCH

        counters = ("prompt_tokens", "prefix_cache_queries", "time_to_first_token_seconds")
        self.show(total_prompt_tokens=10, prefix_cache_hits=1, prefix_cache_queries=9, ttft_buckets_values=[1, 2])
        self.clock.advance(5)
        self.update(total_prompt_tokens=11, prefix_cache_hits=2, prefix_cache_queries=9, ttft_buckets_values=[1, 3])
        self.assertEqual([0, 0, 0], [since(name) for name in counters])
        self.clock.advance(5)
        self.update(total_prompt_tokens=10, ttft_buckets_values=[2, 3])
        self.assertEqual([10, 0, 0], [since(name) for name in counters])
        self.update(ttft_buckets_values=[1, 9], prefix_cache_hits=0, prefix_cache_queries=0)
        self.assertEqual([10, 10, 10], [since(name) for name in counters])

    def test_created_endings(self) -> None:
        """Of several endings only those that became less, or are new, count from then on."""
        self.show(request_success_total={"stop": 5, "length": 5})
        self.clock.advance(5)
        self.update(request_success_total={"stop": 4, "length": 6, "error": 0})
        since = self.lines("vllm:request_success_created")
        late = {reason.partition('"')[2].rstrip('"') for reason, at in since.items() if at == EPOCH + 5}
        self.assertEqual({"stop"}, late)


class AdapterTests(FakeTestCase):
    """LoRA adapters."""

    def test_adapters(self) -> None:
        """There is a series for each entry, with its time; two entries for one series are one."""
        self.show(
            loras=[
                {"running": "lora1,lora2", "waiting": "lora3", "timestamp": 1257894567},
                {"running": "lora1,lora3", "waiting": "", "timestamp": 1257894568},
                {"running": "lora1,lora3", "waiting": "", "timestamp": 1257894569},
            ]
        )
        written = self.metrics.write({"vllm:lora_requests_info"}).splitlines()[2:]
        name = 'vllm:lora_requests_info{max_lora="3",running_lora_adapters="lora1,'
        expected = [
            f'{name}lora2",waiting_lora_adapters="lora3"}} 1.257894567e+09',
            f'{name}lora3",waiting_lora_adapters=""}} 1.257894569e+09',
        ]
        self.assertEqual(expected, written)

    def test_none(self) -> None:
        """An empty list is a server without adapters since now."""
        self.assertNotIn("lora", self.metrics.write())
        self.show(loras=[{"running": "a", "timestamp": 1}])
        self.clock.advance(5)
        self.update(loras=[])
        labels = 'max_lora="3",running_lora_adapters="",waiting_lora_adapters=""'
        self.assertEqual({labels: EPOCH + 5}, self.lines("vllm:lora_requests_info"))
        self.clock.advance(5)
        self.update(running_requests=3)
        self.assertEqual({labels: EPOCH + 5}, self.lines("vllm:lora_requests_info"))


class PageTests(SynchronousTestCase):
    """The whole page."""

    def test_idle(self) -> None:
        """What fakes nothing is byte for byte a real page of a server that has done nothing."""
        metrics = SyntheticMetrics(unused().families, Clock(), lambda: EPOCH, 0.1)
        metrics.show(parse_fake_metrics({}))
        self.assertEqual(unused().families.write(), metrics.write())

    @settings(max_examples=20)
    @given(st.lists(MEMBERS, min_size=1, max_size=4))
    def test_well_formed(self, steps: list[dict[str, Any]]) -> None:
        """Whatever is shown and changed to, the page is as prometheus_client writes it, with every series once."""
        clock, families = Clock(), unused().families
        metrics = SyntheticMetrics(families, clock, lambda: EPOCH + clock.seconds(), 0.1)
        fake = parse_fake_metrics({})
        for step in steps:
            fake = merge_fake_metrics(fake, step)
            metrics.show(fake)
            clock.advance(0.35)
            text = metrics.write()
            shown = Families({}, EPOCH)
            shown._families = [family for family in families if family.shown and family.series]
            self.assertEqual(rewrite(shown), "".join(map(Family.write, shown)))
            samples = [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]
            self.assertEqual(len(samples), len(set(samples)))

    @settings(max_examples=50)
    @given(st.lists(MEMBERS, min_size=2, max_size=4))
    def test_resets(self, steps: list[dict[str, Any]]) -> None:
        """No counter is below what it was unless it tells that it counts anew."""
        clock, families = Clock(), unused().families
        metrics = SyntheticMetrics(families, clock, lambda: EPOCH + clock.seconds(), 0.1)
        before: dict[tuple[str, str], tuple[float, float | None]] = {}
        fake = parse_fake_metrics({})
        for step in steps:
            clock.advance(1)
            fake = merge_fake_metrics(fake, step)
            metrics.show(fake)
            for family in families:
                for series in family.series:
                    key, accumulator = (family.name, str(sorted(series.labels.items()))), series.accumulator
                    if isinstance(accumulator, Counter):
                        value = accumulator.value
                    elif isinstance(accumulator, Histogram):
                        value = float(sum(accumulator.counts))
                    else:
                        continue
                    old, since = before.get(key, (0.0, None))
                    if value < old:
                        self.assertNotEqual(since, series.created, key)
                    before[key] = value, series.created
