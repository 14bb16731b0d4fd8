"""Which of those that wait is served first."""

from typing import Any

from tests.harness import Exchange, RankTestCase

ONE = ("--max-num-seqs", "1", "--time-to-first-token", "1s", "--model", "m")
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "hello", "max_tokens": 1},
    "/v1/chat/completions": HELLO,
    "/v1/chat/completions/batch": {"messages": [HELLO["messages"]], "max_tokens": 1},
    "/v1/responses": {"input": "hello", "max_output_tokens": 1},
    "/inference/v1/generate": {"token_ids": [1], "sampling_params": {"max_tokens": 1}},
    "/generative_scoring": {"query": "a", "items": ["b"], "label_token_ids": [1, 2]},
}


class PriorityTests(RankTestCase):
    """The option, the member of bodies, and the header."""

    def order(self, *asked: Exchange) -> list[int]:
        """Wait for answers, and tell in which order they came."""
        done: list[int] = []
        for _ in range(len(asked)):
            self.clock.pump([1, 0, 0])
            done += [number for number, each in enumerate(asked) if each.complete and number not in done]
        self.assertEqual({200}, {each.status for each in asked})
        return done

    def test_bodies(self) -> None:
        """The request with the lowest priority is next, then the first that came, on all surfaces that know it."""
        self.make_rank(*ONE, "--scheduling-policy", "priority")
        asked = [self.complete(max_tokens=1)]
        asked += [self.post(path, {**body, "priority": 1}) for path, body in BODIES.items()]
        asked += [self.post(path, {**body, "priority": -1}) for path, body in BODIES.items()]
        asked.append(self.post("/v1/messages", {**HELLO, "model": "m"}))
        self.assertEqual([0, *range(7, 13), 13, *range(1, 7)], self.order(*asked))

    def test_header(self) -> None:
        """What the header says comes before what the body says, also where bodies say nothing."""
        self.make_rank(*ONE, "--scheduling-policy", "priority")
        asked = [
            self.complete(max_tokens=1),
            self.complete(max_tokens=1),
            self.post("/v1/completions", {"prompt": "a", "max_tokens": 1, "priority": 7}, X_Vllm_Priority="-3"),
            self.post("/v1/messages", {**HELLO, "model": "m"}, X_Vllm_Priority="-2"),
            self.complete(max_tokens=1, priority=None),
        ]
        self.assertEqual([0, 2, 3, 1, 4], self.order(*asked))

    def test_first_come(self) -> None:
        """By default priorities are taken, as in vLLM, and mean nothing."""
        self.make_rank(*ONE)
        asked = [self.complete(max_tokens=1, priority=5 - number) for number in range(3)]
        asked.append(self.post("/v1/completions", BODIES["/v1/completions"], X_Vllm_Priority="-9"))
        self.assertEqual([0, 1, 2, 3], self.order(*asked))

    def test_extremes(self) -> None:
        """The header takes all integers of 64 bits, as the body does."""
        self.make_rank(*ONE, "--scheduling-policy", "priority")
        asked = [self.complete(max_tokens=1), self.complete(max_tokens=1, priority=-(1 << 63) + 1)]
        for number in ("9223372036854775807", "-9223372036854775808"):
            asked += [self.post("/v1/completions", BODIES["/v1/completions"], X_Vllm_Priority=number)]
        self.assertEqual([0, 3, 1, 2], self.order(*asked))

    def test_wrong(self) -> None:
        """A priority that is no integer of 64 bits is refused, in the body as everything of a wrong type is."""
        self.make_rank(*ONE)
        for text in ("high", "", "1.5", "9" * 19, "9" * 5000):
            error = self.post("/v1/completions", {"prompt": "a"}, X_Vllm_Priority=text).json()["error"]
            self.assertEqual((400, "BadRequestError", None), (error["code"], error["type"], error["param"]))
            self.assertEqual(f"X-Vllm-Priority must be an integer of 64 bits, got {text[:64]}.", error["message"])
        error = self.complete(priority="high").json()["error"]
        self.assertEqual(("Bad Request", "body.priority"), (error["type"], error["param"]))
        self.assertEqual(400, self.complete(priority=1 << 64).status)
