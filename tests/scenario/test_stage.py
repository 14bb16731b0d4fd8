"""What scenarios do to a rank beside its options."""

from twisted.internet.defer import fail

from tests.scenario.test_player import CACHE, LABELS, ScenarioTestCase
from vllmsim.scheduling.control import RankControl

USAGE = f"vllm:kv_cache_usage_perc{LABELS}"


class StageTests(ScenarioTestCase):
    """Everything that a step may do."""

    def names(self) -> list[str]:
        """List the models that are served."""
        return [model["id"] for model in self.get("/v1/models").json()["data"]]

    def troubles(self) -> list[str | None]:
        """Tell what went wrong with each step."""
        return [step["trouble"] for step in self.played()["steps"]]

    def test_probes(self) -> None:
        """Probes are told that the rank is not ready, or not alive, and requests are served all the same."""
        self.make_rank()
        self.begin({"at": "0s", "ready": False}, {"at": "1s", "ready": True, "healthy": False}, duration="2s")
        seen = []
        for _ in range(3):
            seen.append(tuple(self.get(path).status for path in ("/health", "/ready", "/health/ready")))
            self.assertEqual(200, self.chat().status)
            self.wait(1)
        self.assertEqual([(200, 503, 503), (503, 503, 503), (200, 200, 200)], seen)

    def test_pressure(self) -> None:
        """KV blocks are used by nobody: metrics show it, requests wait for what is left, and go on when it is back."""
        self.make_rank(*CACHE, "--max-num-seqs", "9", "--time-to-first-token", "1s")
        self.begin({"at": "0s", "kv-pressure": 0.79}, {"at": "4s", "kv-pressure": 0.1}, duration="6s")
        self.assertEqual(0.79, self.sample(USAGE))
        # Each takes twenty blocks of the hundred.
        asked = [self.complete([word] * 100, max_tokens=221, ignore_eos=True) for word in range(1, 4)]
        self.assertEqual(2.0, self.sample(f"vllm:num_requests_waiting{LABELS}"))
        self.wait(1)
        self.assertEqual([True, False, False], [each.complete for each in asked])
        self.wait(3)
        self.assertEqual([True] * 3, [each.complete for each in asked])
        self.assertEqual(0.1, self.sample(USAGE))
        self.wait(2)
        self.assertEqual(0.0, self.sample(USAGE))

    def test_too_much_pressure(self) -> None:
        """So much is left that the longest request still runs, and that is said."""
        self.make_rank(*CACHE)
        self.begin(
            {"at": "0s", "kv-pressure": 0.95},
            {"at": "1s", "kv-pressure": 0.5},
            {"at": "2s", "ramp": {"kv-pressure": 1}, "over": "2s"},
            duration="5s",
        )
        self.assertEqual(0.8, self.sample(USAGE))
        self.assertEqual(200, self.complete([1] * 300, max_tokens=20, ignore_eos=True).status)
        self.wait(3)
        self.assertEqual(0.75, self.sample(USAGE))
        self.wait(1)
        self.assertEqual(0.8, self.sample(USAGE))
        first, second, third = self.troubles()
        self.assertEqual("kv-pressure is 0.800, as the longest request would find no room with 0.950", first)
        self.assertEqual((None, True), (second, (third or "").startswith("kv-pressure is 0.800")))

    def test_adapters(self) -> None:
        """Adapters come and go, and in the end those are there that were before, from the same paths."""
        self.make_rank("--lora-modules", "old=/old", "other=/other")
        self.begin(
            {"at": "0s", "load-adapter": [{"name": "new", "path": "/new"}, {"name": "newer", "path": "/newer"}]},
            {"at": "1s", "unload-adapter": ["old", "new"]},
            {"at": "2s", "unload-adapter": "other", "load-adapter": {"name": "other", "path": "/other-2"}},
            duration="3s",
        )
        seen = []
        for _ in range(4):
            seen.append([*map(str, sorted(self.names()[1:]))])
            self.wait(1)
        both = ["old", "other"]
        self.assertEqual([["new", "newer", *both], ["newer", "other"], ["newer", "other"], both], seen)
        roots = {model["id"]: model["root"] for model in self.get("/v1/models").json()["data"]}
        self.assertEqual(("/old", "/other"), (roots["old"], roots["other"]))
        self.assertEqual([None] * 3, self.troubles())

    def test_wrong_adapters(self) -> None:
        """What cannot be loaded or unloaded is said, and the rest of the step is done."""
        self.make_rank("--lora-modules", "a=/a")
        self.begin(
            {"at": "0s", "load-adapter": {"name": "a", "path": "/b"}, "ready": False},
            {"at": "1s", "unload-adapter": ["nobody", "a"]},
            duration="2s",
        )
        self.wait(1)
        first, second = self.troubles()
        self.assertIn("'a'", first or "")
        self.assertIn("'nobody'", second or "")
        self.assertEqual((False, 1), (self.rank.health.ready(), len(self.names())))
        self.wait(1)
        self.assertEqual(2, len(self.names()))

    def test_adapters_of_others(self) -> None:
        """What clients load and unload meanwhile is no trouble."""
        self.make_rank("--lora-modules", "a=/a")
        self.begin({"at": "0s", "load-adapter": {"name": "b", "path": "/b"}, "unload-adapter": "a"}, duration="1s")
        self.post("/v1/unload_lora_adapter", {"lora_name": "b"})
        self.post("/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "/a"})
        self.wait(2)
        self.assertEqual(("a", "finished"), (self.names()[1], self.played()["outcome"]))

    def test_adapters_that_others_changed(self) -> None:
        """An adapter that a client has loaded anew since from elsewhere stays as the client wants it."""
        self.make_rank("--lora-modules", "a=/a", "c=/c")
        self.begin(
            {"at": "0s", "load-adapter": {"name": "b", "path": "/b"}, "unload-adapter": ["a", "c"]},
            {"at": "1s", "load-adapter": {"name": "c", "path": "/c-2"}},
            duration="2s",
        )
        self.post("/v1/unload_lora_adapter", {"lora_name": "b"})
        for name in ("a", "b"):
            self.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": "/mine"})
        self.wait(2)
        roots = {model["id"]: model["root"] for model in self.get("/v1/models").json()["data"][1:]}
        self.assertEqual({"a": "/mine", "b": "/mine", "c": "/c"}, roots)

    def test_pauses_of_others(self) -> None:
        """A pause, or sleep, that somebody has begun after the scenario's own was over stays."""
        self.make_rank("--enable-sleep-mode")
        self.begin(
            {"at": "0s", "pause": True, "sleep": 1},
            {"at": "1s", "resume": True, "wake-up": True},
            {"at": "3s", "note": "which has nothing to do with that"},
            duration="4s",
        )
        self.wait(2)
        self.assertEqual((False, False), (self.rank.control.paused(), self.rank.control.sleeping()))
        self.post("/pause", {})
        self.post("/sleep", {})
        self.wait(3)
        self.assertEqual((True, True), (self.rank.control.paused(), self.rank.control.sleeping()))

    def test_no_room_for_adapters(self) -> None:
        """An adapter that cannot be as it was, as others have filled its place, is missing; all else goes back."""
        self.make_rank("--lora-modules", "a=/a", "b=/b")
        self.begin({"at": "0s", "unload-adapter": ["a", "b"], "ready": False}, duration="1s")
        for number in range(999):
            self.scenarios._stages[0]._registry.load(f"x{number}", "/x", in_place=False)
        self.wait(2)
        self.assertEqual((True, False), ("a" in self.names(), "b" in self.names()))
        self.assertEqual(("finished", True), (self.played()["outcome"], self.rank.health.ready()))

    def test_pause_breaks(self) -> None:
        """What goes wrong with what a step has begun is logged, and the scenario goes on."""
        self.make_rank()
        self.patch(RankControl, "pause", lambda *_: fail(ZeroDivisionError()))
        self.begin({"at": "0s", "pause": True, "ready": False}, duration="1s")
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertFalse(self.rank.health.ready())
        self.wait(2)
        self.assertEqual("finished", self.played()["outcome"])

    def test_paused(self) -> None:
        """The rank pauses and goes on; what a scenario has left paused goes on in the end."""
        self.make_rank("--time-to-first-token", "1s")
        self.begin(
            {"at": "0s", "pause": {"mode": "keep", "clear-cache": False}},
            {"at": "2s", "resume": True},
            {"at": "3s", "pause": "wait"},
            duration="4s",
        )
        self.assertEqual((503, True), (self.chat().status, self.rank.control.paused()))
        self.wait(2)
        waits = self.chat()
        self.wait(1)
        self.assertEqual((200, 503), (waits.status, self.chat().status))
        self.wait(1)
        self.assertFalse(self.rank.control.paused())

    def test_paused_before(self) -> None:
        """One that was paused, or slept, before does so again."""
        self.make_rank("--enable-sleep-mode")
        self.post("/pause", b"")
        self.post("/sleep", b"")
        self.begin({"at": "0s", "resume": True, "wake-up": True}, duration="1s")
        self.assertEqual(200, self.chat().status)
        self.wait(2)
        self.assertEqual((True, True), (self.rank.control.paused(), self.rank.control.sleeping()))

    def test_sleeps(self) -> None:
        """The rank sleeps and wakes up, in part or wholly, and is awake in the end if it was."""
        self.make_rank("--enable-sleep-mode")
        self.begin(
            {"at": "0s", "sleep": 2}, {"at": "1s", "wake-up": "weights"}, {"at": "2s", "wake-up": True},
            {"at": "3s", "sleep": {"level": 0, "mode": "wait"}}, duration="4s",
        )  # fmt: skip
        seen = []
        for _ in range(5):
            seen.append(self.rank.control.sleeping())
            self.wait(1)
        self.assertEqual([True, True, False, True, False], seen)

    def test_aborts(self) -> None:
        """Requests that run are ended with what they have said."""
        self.make_rank("--time-to-first-token", "10s")
        asked = self.chat()
        self.begin({"at": "1s", "abort": True})
        self.wait(1.5)
        self.assertEqual("abort", asked.json()["choices"][0]["finish_reason"])

    def test_forgets(self) -> None:
        """The prefix cache is empty when a scenario begins, and when it says so."""
        self.make_rank(*CACHE, "--enable-prompt-tokens-details")

        def cached() -> int:
            details = self.complete([1] * 50).json()["usage"]["prompt_tokens_details"]
            return int(details["cached_tokens"])

        self.assertEqual([0, 48], [cached(), cached()])
        self.begin({"at": "1s", "reset-prefix-cache": True}, duration="2s")
        self.assertEqual([0, 48], [cached(), cached()])
        self.wait(1.5)
        self.assertEqual([0, 48], [cached(), cached()])

    def test_no_cache(self) -> None:
        """Where no blocks are simulated nothing can be forgotten, and nothing goes wrong."""
        self.make_rank()
        self.begin({"at": "0s", "reset-prefix-cache": True, "abort": True})
        self.assertEqual(("finished", [None]), (self.played()["outcome"], self.troubles()))
