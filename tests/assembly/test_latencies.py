"""A rank whose times are a plugin's."""

from typing import Any

from tests.dropins import drop_in
from tests.harness import RankTestCase

MODEL = """
@implementer(ILatencyModel)
class Model:
    made = []

    def __init__(self, surroundings):
        self.made.append(self)
        self.usual, self.by = surroundings.usual, surroundings.options.get("by", 2)
        self.odd, self.broken = surroundings.options.get("odd"), surroundings.options.get("broken", ())
        if "create" in self.broken:
            raise RuntimeError("cannot be")
        self.calls, self.last = 0, surroundings.options.get("last")
        self.drawn = surroundings.generator.random()

    @property
    def instant(self):
        if "instant" in self.broken:
            raise RuntimeError("instant")
        return False

    def give(self, name, usual):
        self.calls += 1
        if name in self.broken or (name, self.calls) == ("inter_token_latency", self.last):
            raise RuntimeError(name)
        return usual * self.by if self.odd is None else float(self.odd)

    def time_to_first_token(self, *what):
        return self.give("time_to_first_token", self.usual.time_to_first_token(*what))

    def inter_token_latency(self, *what):
        return self.give("inter_token_latency", self.usual.inter_token_latency(*what))

    def image_latency(self, generator):
        return self.give("image_latency", self.usual.image_latency(generator))

slow = offer(ILatencyModelFactory, "slow", Model)
models = Model.made
"""
TIMES = "--time-to-first-token", "1s", "--inter-token-latency", "1s"


class LatencyTests(RankTestCase):
    """One model that takes a multiple of the usual time."""

    def setUp(self) -> None:
        """Put it where plugins are."""
        drop_in(self, model=MODEL)

    def models(self) -> list[Any]:
        """Find what has been made."""
        from vllmsim.plugins import model  # type: ignore[attr-defined]  # noqa: PLC0415 - it is dropped in

        return list(model.models)

    def change(self, status: int = 200, **values: Any) -> str:
        """Change options."""
        changed = self.post("/admin/config", {name.replace("_", "-"): value for name, value in values.items()})
        self.assertEqual(status, changed.status, changed.body)
        return "" if status == 200 else str(changed.json()["error"]["message"])

    def times(self) -> list[int]:
        """Stream two tokens, and tell after how many seconds each came."""
        exchange = self.complete("hi", stream=True, max_tokens=2, ignore_eos=True)
        times: list[int] = []
        for second in range(100):
            count = sum(each != "[DONE]" and each["choices"] != [] for each in exchange.events())
            times += [second] * (count - len(times))
            if exchange.complete:
                break
            self.clock.advance(1)
        return times

    def test_times(self) -> None:
        """A plugin says how long everything takes, knowing what the options say."""
        self.make_rank(*TIMES, "--latency-calculator", "slow")
        self.assertEqual([2, 4], self.times())

    def test_options(self) -> None:
        """It has options of its own."""
        self.make_rank(*TIMES, "--latency-calculator", "slow", "--plugin-options.slow.by", "3")
        self.assertEqual([3, 6], self.times())

    def test_live(self) -> None:
        """A server may change to a plugin, to other options of it, and back."""
        self.make_rank(*TIMES)
        self.assertEqual([1, 2], self.times())
        self.change(latency_calculator="slow")
        self.assertEqual([2, 4], self.times())
        self.change(plugin_options={"slow": {"by": 4}})
        self.assertEqual([4, 8], self.times())
        self.change(time_to_first_token="2s")
        self.assertEqual([8, 12], self.times())
        self.change(latency_calculator="constant")
        self.assertEqual([2, 3], self.times())

    def test_under_way(self) -> None:
        """A request that runs keeps the times that it began with."""
        self.make_rank(*TIMES)
        exchange = self.complete("hi", stream=True, max_tokens=4, ignore_eos=True)
        self.change(latency_calculator="slow")
        self.clock.pump([1] * 4)
        self.assertTrue(exchange.complete)

    def test_kept(self) -> None:
        """A model stays when something else changes, and a new one draws what the first drew."""
        self.make_rank("--latency-calculator", "slow")
        self.change(max_waiting_queue_length=5)
        self.assertEqual(1, len(self.models()))
        self.change(inter_token_latency="3s")
        # One is made to try, and one to use.
        self.assertEqual([self.models()[0].drawn] * 3, [model.drawn for model in self.models()])

    def test_refused(self) -> None:
        """A change to one that cannot be is refused, and nothing changes."""
        self.make_rank(*TIMES)
        for values, text in (
            ({"latency_calculator": "slaw"}, "there is no latency model 'slaw'; there are constant, per-token, slow;"),
            ({"plugin_options": {"slaw": {}}}, "plugin-options: there is no plugin 'slaw'; did you mean slow?"),
            (
                {"latency_calculator": "slow", "plugin_options": {"slow": {"buy": 1}}},
                "latency-calculator: the latency model slow says: 'buy' is no option of it; did you mean by?",
            ),
            (
                {"latency_calculator": "slow", "plugin_options": {"slow": {"broken": ["create"]}}},
                "cannot be made: RuntimeError: cannot be",
            ),
            (
                {"latency_calculator": "slow", "plugin_options": {"slow": {"broken": ["instant"]}}},
                "RuntimeError: instant",
            ),
            ({"plugin_options": {"slow": 3}}, "slow must have a map of options, not 3"),
        ):
            with self.subTest(text):
                self.assertIn(text, self.change(400, **values))
                self.assertEqual([1, 2], self.times())

    def test_breaks(self) -> None:
        """One that raises, or takes a time that none can take, costs the request, and nothing of the server's."""
        self.make_rank(
            *TIMES, "--latency-calculator", "slow", "--enable-kvcache", "--omni", "--image-emission-rate", "100"
        )
        for broken in ({"odd": "-1"}, {"odd": "nan"}, {"odd": "inf"}, {"broken": ["time_to_first_token"]}):
            self.change(plugin_options={"slow": broken})
            answer = self.complete("hi")
            self.assertEqual((500, "Internal server error"), (answer.status, answer.json()["error"]["message"]))
            self.assertEqual((0, 0), (self.rank.slots.running, self.rank.simulator.load().cache_usage))
        self.change(plugin_options={"slow": {"broken": ["image_latency"]}})
        self.assertEqual(500, self.chat().status)
        self.change(plugin_options={"slow": {"broken": ["inter_token_latency"]}})
        exchange = self.complete("hi", stream=True, max_tokens=5)
        self.clock.advance(2)
        self.assertEqual(500, exchange.status)
        self.change(plugin_options={"slow": {"last": 5}})
        exchange = self.complete("hi", stream=True, max_tokens=9, ignore_eos=True)
        self.clock.pump([1] * 10)
        self.assertTrue(exchange.complete)
        *said, error, end = exchange.events()
        self.assertEqual((3, 500, "[DONE]"), (len(said), error["error"]["code"], end))
        self.assertEqual((0, 0), (self.rank.slots.running, self.rank.simulator.load().cache_usage))
        self.change(latency_calculator="")
        self.assertEqual([1, 2], self.times())
        self.assertEqual(4, len(self.flushLoggedErrors(RuntimeError)))

    def test_several_ranks(self) -> None:
        """Each rank has a model of its own."""
        self.make_ranks("-dp", "2", "--latency-calculator", "slow")
        self.assertEqual(2, len({model.drawn for model in self.models()}))

    def test_cannot_start(self) -> None:
        """One that cannot be made ends the start with a line."""
        with self.assertRaises(SystemExit) as caught:
            self.make_rank("--latency-calculator", "slow", "--plugin-options.slow.broken", '["create"]')
        self.assertIn("vllmsim: cannot start: latency-calculator: the latency model slow in", str(caught.exception))

    def test_gone(self) -> None:
        """What was had once and cannot be had again is told in the log, and the former stays."""
        self.make_rank(*TIMES, "--latency-calculator", "slow")
        self.change(latency_calculator="")
        type(self.models()[0]).__init__ = None
        self.assertEqual(200, self.post("/admin/config/undo", b"").status)
        self.assertEqual([1, 2], self.times())
