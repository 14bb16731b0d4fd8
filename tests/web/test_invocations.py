"""One path for several surfaces, with a whole rank behind it."""

from typing import Any

from tests.harness import RankTestCase

HI = [{"role": "user", "content": "hi"}]


class InvocationTests(RankTestCase):
    """Which surface answers."""

    def invoke(self, **asked: Any) -> Any:
        """Send a request."""
        return self.post("/invocations", asked)

    def test_generating(self) -> None:
        """Messages are a chat, even beside a prompt; a prompt is a completion, even beside messages that are none."""
        self.make_rank("--mode", "echo", "--pod-name", "p")
        for fields, kind in (
            ({"messages": HI}, "chat.completion"),
            ({"messages": HI, "prompt": "x"}, "chat.completion"),
            ({"prompt": "x"}, "text_completion"),
            ({"prompt": "x", "messages": "y"}, "text_completion"),
        ):
            exchange = self.invoke(**fields)
            self.assertEqual((200, kind), (exchange.status, exchange.json()["object"]))
            self.assertEqual("p", exchange.headers["x-inference-pod"])
        for fields in ({"messages": HI}, {"prompt": "hi"}):
            self.assertEqual("[DONE]", self.invoke(stream=True, **fields).events()[-1])

    def test_pooling(self) -> None:
        """Inputs are embedded, pairs are scored and documents are ranked."""
        for words in ((), ("--runner", "pooling")):
            self.make_rank(*words)
            self.assertEqual("embedding", self.invoke(input="a b").json()["data"][0]["object"])
            self.assertEqual("score", self.invoke(text_1="a", text_2=["a", "b"]).json()["data"][0]["object"])
            self.assertEqual(2, len(self.invoke(query="a", documents=["a", "b"]).json()["results"]))

    def test_none(self) -> None:
        """A body that nobody can read is told what a completion lacks; one that asks for the impossible hears that."""
        self.make_rank()
        unreadable: list[dict[str, Any]] = [{}, {"x": 1}, {"messages": "y"}, {"input": {}}]
        for fields in unreadable:
            exchange = self.invoke(**fields)
            self.assertEqual(400, exchange.status)
            self.assertIn("Either prompt or prompt_embeds", exchange.json()["error"]["message"])
        impossible: list[tuple[dict[str, Any], int]] = [
            ({"messages": []}, 400),
            ({"messages": HI, "model": "zzz"}, 404),
            ({"prompt": "x", "temperature": 3}, 400),
            ({"prompt": "x", "model": "zzz"}, 404),
        ]
        for fields, status in impossible:
            error = self.invoke(**fields).json()["error"]
            self.assertEqual(status, error["code"])
            self.assertNotIn("Either", error["message"])
        error = self.post("/invocations", b"[1]").json()["error"]
        self.assertEqual("body", error["param"])
        self.make_rank("--runner", "pooling")
        self.assertEqual("body.input", self.invoke(x=1).json()["error"]["param"])
