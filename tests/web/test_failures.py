"""The routes that tell which requests were made to fail."""

from pathlib import Path

from tests.web.test_failing import FailingCase

ROOT = Path(__file__).parents[2]


class FailureRouteTests(FailingCase):
    """Counters, and how they begin anew."""

    def test_counters(self) -> None:
        """Each rule tells how many requests it meant and how many of them failed."""
        self.serve({"name": "first", "status": 503, "first": 1, "stream": False}, {"name": "cut", "cut": 0, "every": 2},
                   failure_injection_rate=1)  # fmt: skip
        for stream in (False, False, False, True):
            self.complete(stream=stream)
        answer = self.get("/admin/failures")
        self.assertEqual(200, answer.status)
        self.assertEqual(
            {
                "rules": [{"name": "first", "matched": 3, "failed": 1}, {"name": "cut", "matched": 3, "failed": 1}],
                "chance": {"name": "failure-injection-rate", "matched": 2, "failed": 0},
                "header": {"name": "X-Return-Error", "matched": 0, "failed": 0},
            },
            answer.json(),
        )

    def test_reset(self) -> None:
        """With its counters at 0, a rule begins anew; metrics go on."""
        self.serve({"status": 503, "first": 1})
        self.assertEqual([503, 200], [self.complete().status for _ in range(2)])
        answer = self.post("/admin/failures/reset", b"")
        self.assertEqual(
            (200, [{"name": "rule-1", "matched": 0, "failed": 0}]), (answer.status, answer.json()["rules"])
        )
        self.assertEqual([503, 200], [self.complete().status for _ in range(2)])
        labels = 'engine="0",model_name="m1",rule="rule-1",type="status-503"'
        self.assertEqual(2.0, self.sample(f"vllmsim:injected_failures_total{{{labels}}}"))

    def test_example(self) -> None:
        """The example's rules do what they say of themselves."""
        self.make_rank("--config", str(ROOT / "examples" / "failures.yaml"))
        chat = {"messages": [{"role": "user", "content": "one two three four five"}], "stream": True}
        self.assertEqual([503, 503], [self.complete().status for _ in range(2)])
        self.assertEqual("1", self.complete(stream=True).headers.get("retry-after", "1"))
        red = [self.post("/v1/chat/completions", chat, X_Team="red") for _ in range(2)]
        poor = self.post("/v1/chat/completions", chat, Authorization="Bearer sk-poor-1")
        slow = self.post("/v1/chat/completions", chat, X_Pause="yes")
        self.clock.advance(0.4)
        self.assertEqual([False, True], [each.transport.disconnecting for each in red])
        self.assertEqual((429, "insufficient_quota"), (poor.status, poor.json()["error"]["code"]))
        self.assertEqual(0, slow.status)
        self.clock.advance(2.0)
        self.assertFalse(slow.complete)
        for _ in range(8):
            self.clock.advance(0.1)
        self.assertTrue(slow.complete)
        embedded = [self.post("/v1/embeddings", {"input": "a"}) for _ in range(30)]
        self.assertTrue(3 < sum(each.transport.disconnected for each in embedded) < 20)

    def test_nothing(self) -> None:
        """A rank without rules tells so, and shows no metric."""
        self.serve()
        self.assertEqual([], self.get("/admin/failures").json()["rules"])
        self.assertNotIn(b"injected", self.get("/metrics").body)
