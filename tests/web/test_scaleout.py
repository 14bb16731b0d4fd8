"""The gate before the routes for disaggregated serving."""

from tests.api.test_errors import recordings
from tests.harness import RankTestCase

PATH = "/inference/v1/abort_requests"


class ScaleOutTests(RankTestCase):
    """Routers abort what they have sent."""

    def test_open(self) -> None:
        """The gate is open unless it is closed; the answer has no body and no type."""
        self.make_rank("--time-to-first-token", "1s")
        aborted, other = self.complete(request_id="a"), self.complete(request_id="b")
        self.clock.advance(0)
        exchange = self.post(PATH, {"request_ids": ["cmpl-a", "x"]})
        self.assertEqual((200, b""), (exchange.status, exchange.body))
        self.assertNotIn("content-type", exchange.headers)
        self.assertEqual(("abort", 0), (aborted.json()["choices"][0]["finish_reason"], other.status))

    def test_no_ids(self) -> None:
        """Without ids there is an error; an empty list aborts nothing."""
        self.make_rank("--time-to-first-token", "1s")
        other = self.complete()
        self.clock.advance(0)
        for body in (b"{}", b"", b'{"request_ids":null}'):
            error = self.post(PATH, body).json()["error"]
            message = "Missing 'request_ids' in request body"
            self.assertEqual({"message": message, "type": "Bad Request", "param": None, "code": 400}, error)
        self.assertEqual(200, self.post(PATH, {"request_ids": []}).status)
        self.assertEqual((400, 0), (self.post(PATH, b"[").status, other.status))

    def test_closed(self) -> None:
        """A closed gate refuses anything in vLLM's words; a server of tokens alone has it open."""
        self.make_rank("--no-enable-scale-out")
        for body in (b"garbage", b"", b'{"request_ids":["a"]}'):
            exchange = self.connect().send("POST", PATH, body)
            self.assertEqual(recordings()["gen403"], (exchange.status, exchange.body))
        self.make_rank("--no-enable-scale-out", "--tokens-only")
        self.assertEqual(200, self.post(PATH, {"request_ids": ["a"]}).status)
