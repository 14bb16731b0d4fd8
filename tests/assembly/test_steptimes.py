"""A rank whose engine steps take the time that options say, or a plugin."""

import itertools

from tests.dropins import drop_in
from tests.harness import RankTestCase

MODEL = """
@implementer(IStepTime)
class Model:
    def __init__(self, surroundings):
        self.usual, self.by = surroundings.usual, surroundings.options.get("by", 2)
        self.odd = surroundings.options.get("odd")

    def seconds(self, work, generator):
        if self.odd == "raises":
            raise RuntimeError("seconds")
        return self.usual.seconds(work, generator) * self.by if self.odd is None else float(self.odd)

slow = offer(IStepTimeFactory, "slow", Model)
"""
STEP = "--scheduling-model", "step", "--step-time-constant", "1s"


class StepTimeTests(RankTestCase):
    """Steps of a second, or of a multiple."""

    def setUp(self) -> None:
        """Put a plugin where plugins are."""
        drop_in(self, model=MODEL)

    def change(self, status: int = 200, **values: object) -> str:
        """Change options."""
        changed = self.post("/admin/config", {name.replace("_", "-"): value for name, value in values.items()})
        self.assertEqual(status, changed.status, changed.body)
        return "" if status == 200 else str(changed.json()["error"]["message"])

    def times(self, *changes: dict[str, object]) -> list[int]:
        """Stream four tokens, and tell after how many seconds each came.

        :param changes: what is changed when the first, the second and so on is there.
        """
        exchange = self.complete("one two three", stream=True, max_tokens=4, ignore_eos=True)
        times: list[int] = []
        # So that sums of steps do not fall beside what is due.
        self.clock.advance(0.01)
        for second in range(100):
            count = sum(each != "[DONE]" and each["choices"] != [] for each in exchange.events())
            for _ in range(count - len(times)):
                if len(times) < len(changes):
                    self.change(200, **changes[len(times)])
                times.append(second)
            if exchange.complete:
                break
            self.clock.advance(1)
        return times

    def test_linear(self) -> None:
        """Steps take what the options say."""
        self.make_rank(*STEP, "--step-time-per-prefill-token", "1s")
        # The prompt has three tokens, and each step a second of its own.
        self.assertEqual([4, 5, 6, 7], self.times())

    def test_roofline(self) -> None:
        """A model on a device takes its time: a second for each thousand million parameters of two bytes."""
        shape = '{"layers":1,"hidden-size":1,"heads":1,"kv-heads":1,"head-size":1,"parameters":1}'
        device = '{"tflops":1000,"bandwidth":2,"link":1}'
        words = "--scheduling-model", "step", "--model-shape", shape, "--device-preset=", "--device-shape", device
        self.make_rank(*words, "--roofline-bandwidth-efficiency", "1", "--roofline-overhead", "0")
        self.assertEqual([1, 2, 3, 4], self.times())

    def test_live(self) -> None:
        """What changes live changes the next step, also of sequences that run already."""
        self.make_rank(*STEP)
        self.assertEqual([1, 2, 3, 4], self.times())
        # A step that has begun ends when it was to end.
        self.assertEqual([1, 2, 5, 8], self.times({"step_time_constant": "3s"}))
        self.assertEqual([3, 6, 12, 18], self.times({"step_time": "slow"}))
        self.assertEqual([6, 12, 24, 36], self.times({"plugin_options": {"slow": {"by": 4}}}))
        self.assertEqual([12, 24, 27, 30], self.times({"step_time": "linear"}))

    def test_seeded(self) -> None:
        """Jitter makes steps different, and is the same with the same seed."""

        def drawn() -> list[int]:
            self.make_rank("--scheduling-model", "step", "--step-time-constant", "30s", "--step-time-jitter", "30")
            return self.times()

        first = drawn()
        self.assertEqual(first, drawn())
        self.assertGreater(len({after - before for before, after in itertools.pairwise([0, *first])}), 1)

    def test_refused(self) -> None:
        """A change to what cannot be is refused, and nothing changes."""
        self.make_rank(*STEP, "--model", "m")
        for values, text in (
            ({"step_time": "slaw"}, "there is no step time 'slaw'; there are linear, roofline, profile, slow;"),
            ({"step_time": "roofline"}, "model-preset: roofline needs a model-preset, or a model-shape"),
            ({"step_time": "profile"}, "step-profile: is needed for step-time profile"),
            ({"step_profile": "/nowhere.csv"}, "a file can be named where the server is started alone"),
            ({"step_time": "slow", "plugin_options": {"slow": {"buy": 1}}}, "'buy' is no option of it; did you mean"),
        ):
            with self.subTest(text):
                self.assertIn(text, self.change(400, **values))
        self.assertEqual([1, 2, 3, 4], self.times())

    def test_breaks(self) -> None:
        """While a plugin raises, or gives nonsense, steps take the usual time, and no client hears of it."""
        self.make_rank(*STEP, "--step-time", "slow")
        for odd in ("raises", "-1", "nan", "inf", "1e9"):
            self.change(plugin_options={"slow": {"odd": odd}})
            self.assertEqual([1, 2, 3, 4], self.times())
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_cannot_start(self) -> None:
        """One that cannot be made ends the start with a line."""
        with self.assertRaises(SystemExit) as caught:
            self.make_rank(*STEP, "--step-time", "slow", "--plugin-options.slow.buy", "1")
        self.assertIn("vllmsim: cannot start: step-time: the step time slow says: 'buy' is", str(caught.exception))
