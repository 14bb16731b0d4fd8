"""One way for every change."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.commandline import load_words
from vllmsim.config.changes import REMEMBERED, LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import Loaded
from vllmsim.config.schema import Configuration
from vllmsim.errors import Conflict, InvalidRequest
from vllmsim.interfaces import IConfigurations


class ChangesTestCase(SynchronousTestCase):
    """Two ranks, numbered 4 and 5."""

    def setUp(self) -> None:
        """Have their configurations, and hear of swaps."""
        self.load("--time-to-first-token", "1s")
        self.now = 100.0

    def load(self, *words: str) -> None:
        """Begin with a command line."""
        loaded = load_words(words, {})
        self.lives = {number: LiveConfiguration(loaded.configuration) for number in (4, 5)}
        self.all = LiveConfigurations(self.lives, loaded, lambda: self.now)
        self.swaps: list[tuple[int, Configuration, Configuration]] = []
        for number, live in self.lives.items():
            live.watch(partial(self.heard, number))

    def heard(self, number: int, old: Configuration, new: Configuration) -> None:
        """Hear of a swap."""
        self.swaps.append((number, old, new))

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await what takes no time."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def fails(self, coroutine: Coroutine[Any, Any, Any], error: type[Exception] = InvalidRequest) -> str:
        """Await what fails, and give its message."""
        return str(self.failureResultOf(Deferred.fromCoroutine(coroutine), error).value)

    def change(self, rank: int | None = None, who: str = "me", *, step: bool = False, **values: Any) -> None:
        """Change options."""
        self.do(
            self.all.change({name.replace("_", "-"): value for name, value in values.items()}, rank, who, step=step)
        )

    def of_both(self, name: str) -> list[Any]:
        """Read an option of both ranks."""
        return [getattr(live.current, name) for live in self.lives.values()]

    def history(self) -> list[dict[str, Any]]:
        """Ask what has changed."""
        history: list[dict[str, Any]] = self.do(self.all.history())
        return history

    def said(self, act: Callable[[], object], level: LogLevel = LogLevel.info) -> list[str]:
        """Do something and read what is logged at a level."""
        with capturedLogs() as events:
            act()
        return [event["log_format"].format(**event) for event in events if event["log_level"] is level]


class ChangeTests(ChangesTestCase):
    """Changes of options."""

    def test_interface(self) -> None:
        """It is what delivery sees."""
        verifyObject(IConfigurations, self.all)

    def test_together(self) -> None:
        """All ranks change, each once, with all the options."""
        self.change(time_to_first_token=50, inter_token_latency="2ms")
        self.assertEqual(
            [[0.05, 0.05], [0.002, 0.002]], [self.of_both(n) for n in ("time_to_first_token", "inter_token_latency")]
        )
        self.assertEqual([4, 5], [number for number, _, _ in self.swaps])
        self.assertEqual([1.0, 0.05], [c.time_to_first_token for c in self.swaps[0][1:]])

    def test_named(self) -> None:
        """A rank that is named changes alone."""
        self.change(5, time_to_first_token=50)
        self.assertEqual([1.0, 0.05], self.of_both("time_to_first_token"))
        self.assertEqual([5], [number for number, _, _ in self.swaps])

    def test_no_such_rank(self) -> None:
        """A rank of another number is none."""
        expected = "There is no rank 3 here; this server has 4, 5."
        self.assertEqual(expected, self.fails(self.all.change({}, 3, "me")))
        self.assertEqual(expected, self.fails(self.all.describe(3)))

    def test_all_or_nothing(self) -> None:
        """When anything is wrong with the configuration of any rank, none changes, and all of it is told."""
        self.change(5, time_to_first_token=1, time_to_first_token_std_dev="0.3ms")
        del self.swaps[:]
        fault = self.fails(self.all.change({"time-to-first-token-std-dev": "300ms", "port": 1}, None, "me"))
        self.assertIn("field 'port' is not admin-configurable; time-to-first-token-std-dev: 300ms is more", fault)
        self.assertEqual(1, fault.count("port"))
        self.assertEqual(([], [0.0, 0.0003]), (self.swaps, self.of_both("time_to_first_token_std_dev")))
        self.change(4, time_to_first_token_std_dev="300ms")

    def test_many_faults(self) -> None:
        """When very much is wrong, the first of it is told, and how much more there is."""
        fault = self.fails(self.all.change({f"x{n}": 1 for n in range(60)}, None, "me"))
        self.assertEqual((51, "; and 10 more"), (fault.count("; ") + 1, fault[-13:]))

    def test_error(self) -> None:
        """The error names the first key that is wrong."""
        coroutine = self.all.change({"failure-injection-rate": 101, "port": 1}, None, "me")
        error = self.failureResultOf(Deferred.fromCoroutine(coroutine), InvalidRequest).value
        self.assertEqual("failure-injection-rate", error.param)

    def test_nothing(self) -> None:
        """What changes nothing is no change."""
        self.assertEqual([], self.said(lambda: self.change(time_to_first_token="1000ms", inter_token_latency=None)))
        self.assertEqual(([], []), (self.swaps, self.history()))
        self.fails(self.all.undo("me"), Conflict)

    def test_observer_breaks(self) -> None:
        """An observer that breaks keeps nobody else from hearing, and no rank from changing."""

        def breaks(*_: object) -> None:
            raise RuntimeError

        live = LiveConfiguration(self.lives[4].current)
        heard: list[object] = []
        live.watch(breaks)
        live.watch(lambda *both: heard.append(both))
        live.swap(evolve(live.current, port=1))
        self.assertEqual((1, 1), (len(heard), len(self.flushLoggedErrors(RuntimeError))))

    def test_log(self) -> None:
        """The log says in one line who changed what from which value to which, and for which ranks if not for all."""
        self.assertEqual(
            ['me has changed the configuration: failure-types from [] to ["rate_limit"]'],
            self.said(lambda: self.change(failure_types=["rate_limit"])),
        )
        self.assertEqual(
            ['you has changed the configuration: time-to-first-token from "1s" to "2s" (rank 5)'],
            self.said(lambda: self.change(5, "you", time_to_first_token="2s")),
        )
        [line] = self.said(lambda: self.change(failure_types=["rate_limit"] * 1000))
        self.assertLess(len(line), 600)

    def test_describe(self) -> None:
        """A rank is shown with every option that is no secret, in order, and with flags of vLLM's that were given."""
        self.load("--hf-token", "secret", "--admin-api-key", "secret", "--enforce-eager", "--seed", str(2**63 + 1))
        shown = self.do(self.all.describe(5))
        self.assertEqual(sorted(shown), list(shown))
        self.assertNotIn("secret", str(shown))
        self.assertEqual(
            (5, "0s", 8000, True, None, 2**63 + 1),
            tuple(
                shown[name]
                for name in (
                    "data-parallel-rank",
                    "time-to-first-token",
                    "port",
                    "enforce-eager",
                    "fake-metrics",
                    "seed",
                )
            ),
        )
        self.change(5, time_to_first_token=1500)
        self.assertEqual(["0s", "1.5s"], [self.do(self.all.describe(n))["time-to-first-token"] for n in (4, 5)])


class HistoryTests(ChangesTestCase):
    """What was before."""

    def test_undo(self) -> None:
        """One undo after the other brings back what was before each change, of each rank its own."""
        self.change(5, time_to_first_token=50)
        self.change(time_to_first_token=70, failure_injection_rate=3)
        self.do(self.all.undo("you"))
        self.assertEqual(
            ([1.0, 0.05], [0, 0]), (self.of_both("time_to_first_token"), self.of_both("failure_injection_rate"))
        )
        self.do(self.all.undo("you"))
        self.assertEqual([1.0, 1.0], self.of_both("time_to_first_token"))
        self.assertEqual("There is no change of the configuration to undo.", self.fails(self.all.undo("you"), Conflict))

    def test_history(self) -> None:
        """Who did what and when is told, the latest first, with values as a file would have them."""
        self.change(5, time_to_first_token=50)
        self.now = 101.0
        self.change(time_to_first_token=70)
        self.now = 102.0
        self.do(self.all.undo("you"))

        def entry(old: str, new: str, *ranks: int) -> dict[str, Any]:
            return {"option": "time-to-first-token", "old": old, "new": new, "ranks": list(ranks)}

        expected = [
            {
                "when": 102.0,
                "who": "you",
                "what": "undo",
                "changes": [entry("70ms", "1s", 4), entry("70ms", "50ms", 5)],
            },
            {
                "when": 101.0,
                "who": "me",
                "what": "change",
                "changes": [entry("1s", "70ms", 4), entry("50ms", "70ms", 5)],
            },
            {"when": 100.0, "who": "me", "what": "change", "changes": [entry("1s", "50ms", 5)]},
        ]
        self.assertEqual(expected, self.history())

    def test_long_values(self) -> None:
        """Of a very long value the history has the beginning."""
        self.change(failure_types=["rate_limit"] * 3000)
        new = self.history()[0]["changes"][0]["new"]
        self.assertEqual(('["rate_limit", ', "..."), (new[:15], new[-3:]))
        self.assertLess(len(new), 5000)

    def test_bounded(self) -> None:
        """No more than so many changes are remembered, however many there are."""
        for number in range(REMEMBERED + 20):
            self.change(time_to_first_token=number)
        self.assertEqual(REMEMBERED, len(self.history()))
        for _ in range(REMEMBERED):
            self.do(self.all.undo("me"))
        self.assertEqual([0.019, 0.019], self.of_both("time_to_first_token"))
        self.fails(self.all.undo("me"), Conflict)

    def test_steps(self) -> None:
        """Steps of one author are one change, which is undone whole and logged once; another's are not of it."""
        self.change(time_to_first_token=1)
        for number in range(2, 5):
            self.change(who="play", step=True, time_to_first_token=number)
        self.change(who="other play", step=True, time_to_first_token=9)
        changes = [each["changes"][0] for each in self.history()]
        self.assertEqual([("4ms", "9ms"), ("1ms", "4ms"), ("1s", "1ms")], [(c["old"], c["new"]) for c in changes])
        for expected in (0.004, 0.001, 1.0):
            self.do(self.all.undo("me"))
            self.assertEqual([expected, expected], self.of_both("time_to_first_token"))
        self.change(who="play", step=True, time_to_first_token=2)
        self.do(self.all.undo("me"))
        self.assertEqual([1.0, 1.0], self.of_both("time_to_first_token"))

    def test_steps_and_back(self) -> None:
        """Steps that end where they began are no change at all, neither told nor undone."""
        self.change(time_to_first_token=7)
        for number in (8, 9, 7):
            self.change(who="play", step=True, time_to_first_token=number)
        self.assertEqual(["me"], [each["who"] for each in self.history()])
        self.do(self.all.undo("me"))
        self.assertEqual([1.0, 1.0], self.of_both("time_to_first_token"))


class ReloadTests(ChangesTestCase):
    """Sources that are read again."""

    def reload(self, *words: str) -> None:
        """Have other words in the sources."""
        self.do(self.all.reload(load_words(words, {}), "the file"))

    def test_reload(self) -> None:
        """What changed in the sources changes in all ranks at once; it is a change like any other."""
        self.reload("--time-to-first-token", "3s", "--failure-injection-rate", "7")
        self.assertEqual(
            ([3.0, 3.0], [7, 7]), (self.of_both("time_to_first_token"), self.of_both("failure_injection_rate"))
        )
        self.assertEqual(
            (2, "reload", "the file"), (len(self.swaps), self.history()[0]["what"], self.history()[0]["who"])
        )
        self.do(self.all.undo("me"))
        self.assertEqual([1.0, 1.0], self.of_both("time_to_first_token"))

    def test_changed_in_between(self) -> None:
        """What was changed in between stays unless the sources change it too; what these drop is the default again."""
        self.change(inter_token_latency=5)
        self.change(5, failure_injection_rate=9)
        self.reload("--failure-injection-rate", "1")
        self.assertEqual(
            [[0.0, 0.0], [0.005, 0.005], [1, 1]],
            [self.of_both(n) for n in ("time_to_first_token", "inter_token_latency", "failure_injection_rate")],
        )

    def test_not_live(self) -> None:
        """What cannot change is named in the log, once, and left, while the rest changes."""
        words = ("--port", "9000", "--time-to-first-token", "2s")
        warned = self.said(lambda: self.reload(*words), LogLevel.warn)
        self.assertEqual(["port has changed, which takes a restart to have effect."], warned)
        self.assertEqual(([8000, 8000], [2.0, 2.0]), (self.of_both("port"), self.of_both("time_to_first_token")))
        self.assertEqual([], self.said(lambda: self.reload(*words), LogLevel.warn))
        self.assertEqual([], self.said(lambda: self.reload("--time-to-first-token", "2s"), LogLevel.warn))

    def test_does_not_go_with(self) -> None:
        """What does not go with what was changed in between changes nothing, and is taken when it does."""
        self.change(time_to_first_token_std_dev="300ms")
        words = ("--time-to-first-token", "10ms")
        self.assertIn("30 %", self.fails(self.all.reload(load_words(words, {}), "the file")))
        self.assertEqual([1.0, 1.0], self.of_both("time_to_first_token"))
        self.change(time_to_first_token_std_dev=0)
        self.reload(*words)
        self.assertEqual([0.01, 0.01], self.of_both("time_to_first_token"))

    def test_fake_metrics(self) -> None:
        """Metrics become neither fake nor real while the server runs."""
        fake = ("--time-to-first-token", "1s", "--fake-metrics", '{"running-requests": 1}')
        warned = self.said(lambda: self.reload(*fake), LogLevel.warn)
        self.assertEqual(["fake-metrics has changed, which takes a restart to have effect."], warned)
        self.load(*fake)
        self.reload("--fake-metrics", '{"running-requests": 2}')
        self.assertEqual([2.0, 2.0], [each.running_requests for each in self.of_both("fake_metrics")])

    def test_settled(self) -> None:
        """What options come to together is worked out again."""
        loaded = load_words(["--enable-kvcache"], {})
        self.load("--enable-kvcache")
        self.do(self.all.reload(Loaded(loaded.configuration, loaded.values), "x"))
        self.change(time_to_first_token=1)
        self.assertEqual(
            [evolve(loaded.configuration, time_to_first_token=0.001)] * 2,
            [each.current for each in self.lives.values()],
        )
