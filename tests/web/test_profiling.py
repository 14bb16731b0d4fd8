"""Starting and stopping a profiler that is none."""

from tests.harness import RankTestCase


class ProfilingTests(RankTestCase):
    """Scripts that profile run."""

    def test_absent(self) -> None:
        """Without a profiler there is nothing to start."""
        self.make_rank()
        self.assertEqual([404, 404], [self.post(path, b"").status for path in ("/start_profile", "/stop_profile")])

    def test_profile(self) -> None:
        """A profile is started once until it is stopped, without a word."""
        self.make_rank("--profiler-config.profiler", "torch")
        start = self.post("/start_profile", b"")
        self.assertEqual((200, b"", None), (start.status, start.body, start.headers.get("content-type")))
        again = self.post("/start_profile", {"profile_prefix": "x", "max_iterations": 3})
        self.assertEqual((409, "Conflict"), (again.status, again.json()["error"]["type"]))
        for _ in range(2):
            stop = self.post("/stop_profile", b"")
            self.assertEqual((200, b""), (stop.status, stop.body))
        self.assertEqual(400, self.post("/start_profile", {"max_iterations": "many"}).status)
        self.assertEqual(200, self.post("/start_profile", {}).status)
