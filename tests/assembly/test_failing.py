"""A rank on which plugins make requests fail."""

from typing import Any

from tests.dropins import drop_in
from tests.harness import RankTestCase

FAILURES = """
from vllmsim.errors import Conflict, InvalidRequest

@implementer(IFailure)
class Every:
    def __init__(self, surroundings):
        o = surroundings.options
        self.every, self.broken, self.fault = o.get("every", 1), o.get("broken", ()), o.get("fault", {})
        self.name, self.seen, self.generator = o.get("name", "every"), 0, surroundings.generator
        self.looks = 0
        if "create" in self.broken:
            raise RuntimeError("create")

    @property
    def active(self):
        self.looks += 1
        if "active" in self.broken and self.looks > 1:
            raise RuntimeError("active")
        return self.every > 0

    def consider(self):
        if "consider" in self.broken:
            raise RuntimeError("consider")
        return self.decide

    def decide(self, facts):
        if "decide" in self.broken:
            raise RuntimeError("decide")
        if "nonsense" in self.broken:
            return "fault"
        if "refuse" in self.broken:
            raise InvalidRequest("not like this")
        self.seen += 1
        if facts.route == "/v1/completions" and self.seen % self.every == 0:
            return Fault(self.name, Conflict(f"the {self.seen}. has {self.generator.randrange(10**6)}"), **self.fault)

first = offer(IFailureFactory, "first", Every)
second = offer(IFailureFactory, "second", Every)
"""


class FailureTests(RankTestCase):
    """Failures that are plugins'."""

    def setUp(self) -> None:
        """Put them where plugins are."""
        drop_in(self, failures=FAILURES)

    def change(self, status: int = 200, **values: Any) -> str:
        """Change options."""
        changed = self.post("/admin/config", {name.replace("_", "-"): value for name, value in values.items()})
        self.assertEqual(status, changed.status, changed.body)
        return "" if status == 200 else str(changed.json()["error"]["message"])

    def ask(self, count: int = 4) -> list[int]:
        """Send some requests, and tell how they were answered."""
        return [self.complete("hi").status for _ in range(count)]

    def test_fails(self) -> None:
        """Requests fail as a plugin decides, and counters and the journal tell which."""
        self.make_rank("--failure-plugins", "first", "--plugin-options.first.every", "2", "--model", "m")
        self.assertEqual([200, 409, 200, 409], self.ask())
        self.assertEqual(200, self.chat().status)
        [tally] = self.get("/admin/failures").json()["rules"]
        self.assertEqual({"name": "plugin:first", "matched": 5, "failed": 2}, tally)
        labels = 'engine="0",model_name="m",rule="plugin:first",type="plugin"'
        self.assertEqual(2, self.sample(f"vllmsim:injected_failures_total{{{labels}}}"))
        faults = [each["fault"] for each in self.get("/admin/requests").json()["requests"]]
        self.assertEqual(2, faults.count("every"))
        self.post("/admin/failures/reset", b"")
        self.assertEqual(0, self.get("/admin/failures").json()["rules"][0]["matched"])

    def test_order(self) -> None:
        """Ours come first, then plugins in their order; who is not asked does not count."""
        rules = '[{"name":"mine","status":418,"times":1}]'
        self.make_rank("--failure-plugins", "second", "first", "--failure-rules", rules)
        self.assertEqual([418, 409, 409], self.ask(3))
        told = {each["name"]: each["matched"] for each in self.get("/admin/failures").json()["rules"]}
        self.assertEqual({"mine": 3, "plugin:second": 2, "plugin:first": 0}, told)

    def test_seed(self) -> None:
        """What a plugin draws is the same with the same seed."""
        messages = []
        for _ in range(2):
            self.make_rank("--failure-plugins", "first")
            messages.append(self.complete("hi").json()["error"]["message"])
        self.assertEqual(messages[0], messages[1])

    def test_idle(self) -> None:
        """One that does nothing now is not asked."""
        self.make_rank("--failure-plugins", "first", "--plugin-options.first.every", "0")
        self.assertEqual([200], self.ask(1))

    def test_live(self) -> None:
        """They come and go, and change their options, while the server runs; one that stays goes on counting."""
        self.make_rank()
        self.assertEqual([200], self.ask(1))
        self.change(failure_plugins=["first"], plugin_options={"first": {"every": 2}})
        self.assertEqual([200, 409, 200], self.ask(3))
        self.change(failure_plugins=["first", "second"], plugin_options={"first": {"every": 2}, "second": {"every": 9}})
        self.assertEqual([409], self.ask(1))
        self.change(plugin_options={"first": {"every": 3}})
        self.assertEqual([409] * 3, self.ask(3))
        self.change(failure_plugins=[])
        self.assertEqual([200], self.ask(1))
        self.assertEqual([], self.get("/admin/failures").json()["rules"])

    def test_refused(self) -> None:
        """A change to one that cannot be is refused, and nothing changes."""
        self.make_rank("--failure-plugins", "first")
        for values, text in (
            ({"failure_plugins": ["third"]}, "failure-plugins: there is no failure 'third'; there are first, second"),
            ({"failure_plugins": ["th ird"]}, "failure-plugins: "),
            ({"plugin_options": {"first": {"evry": 1}}}, "'evry' is no option of it; did you mean every?"),
            ({"plugin_options": {"first": {"broken": ["create"]}}}, "cannot be made: RuntimeError: create"),
        ):
            self.assertIn(text, self.change(400, **values))
            self.assertEqual([409], self.ask(1))

    def test_breaks(self) -> None:
        """One that breaks in any method costs the requests that it is asked about."""
        self.make_rank("--failure-plugins", "first")
        for broken in ("active", "consider", "decide", "nonsense"):
            self.change(plugin_options={"first": {"broken": [broken]}})
            answer = self.complete("hi")
            self.assertEqual((500, "Internal server error"), (answer.status, answer.json()["error"]["message"]))
            self.assertEqual(200, self.get("/v1/models").status)
        for fault in ({"delay": -1}, {"headers": {"a": "b\nc"}}):
            self.change(plugin_options={"first": {"fault": fault}})
            self.assertEqual(500, self.complete("hi").status)
        self.change(plugin_options={"first": {"broken": ["refuse"]}})
        self.assertEqual(400, self.complete("hi").status)
        self.assertEqual(3, len(self.flushLoggedErrors(RuntimeError)))

    def test_cannot_start(self) -> None:
        """One that cannot be made ends the start with a line."""
        for words, text in (
            (["third"], "there is no failure 'third'"),
            (["first", "--plugin-options.first.broken", '["create"]'], "cannot be made: RuntimeError: create"),
        ):
            with self.assertRaises(SystemExit) as caught:
                self.make_rank("--failure-plugins", *words)
            self.assertIn("vllmsim: cannot start: failure-plugins: ", str(caught.exception))
            self.assertIn(text, str(caught.exception))
