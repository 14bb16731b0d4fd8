"""Answers whose bytes go wrong."""

import json
from typing import Any

from tests.harness import Exchange
from tests.web.test_failing import FailingCase
from vllmsim.api.spoiling import malformed_json as malformed

TEXT = "one two three four"
HI = [{"role": "user", "content": TEXT}]
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI},
    "/v1/completions": {"prompt": TEXT},
    "/v1/responses": {"input": TEXT},
    "/v1/messages": {"model": "m1", "messages": HI, "max_tokens": 50},
    "/inference/v1/generate": {"token_ids": [1, 2, 3, 4], "sampling_params": {"max_tokens": 50}},
}
"""A body for each route that streams; each is answered with four tokens and the one that ends them."""
_GAP = 0.01


def is_json(text: str) -> bool:
    """Tell whether a text is JSON."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class DamageCase(FailingCase):
    """Ranks that say a token every ten milliseconds, and spoil some answers."""

    def spoil(self, **rule: Any) -> None:
        """Have a rank that spoils the answers to all who ask for it."""
        self.serve({"header": "x-spoil", **rule}, inter_token_latency="10ms")

    def ask(self, path: str, *, stream: bool, **headers: str) -> Exchange:
        """Ask for an answer, and wait for its end."""
        exchange = self.post(path, {**STREAMS[path], "stream": stream}, **headers)
        for _ in range(8):
            self.clock.advance(_GAP)
        return exchange

    def both(self, path: str, *, stream: bool) -> tuple[Exchange, Exchange]:
        """Ask for an answer that is spoilt, and for one that is not."""
        spoilt, whole = self.ask(path, stream=stream, X_Spoil="yes"), self.ask(path, stream=stream)
        self.assertTrue(whole.complete)
        return spoilt, whole

    def frames(self, exchange: Exchange) -> list[str]:
        """Read the frames of a stream, each with an id that may differ taken out."""
        text = exchange.body.decode()
        for name in ("chatcmpl-", "cmpl-", "resp_", "msg_", "chatcmpl-tool-", "generate-tokens-"):
            pieces = text.split(name)
            text = name.join([pieces[0], *(piece[16:] for piece in pieces[1:])])
        return text.split("\n\n")

    def idle(self) -> bool:
        """Tell whether nothing runs."""
        return not self.rank.slots.running and not len(self.rank.simulator.requests)


class StreamTests(DamageCase):
    """Streams."""

    def tokens_before(self, path: str, count: int) -> int:
        """Count the frames before the token after so many."""
        exchange = self.post(path, {**STREAMS[path], "stream": True})
        for _ in range(count - 1):
            self.clock.advance(_GAP)
        before = exchange.body.count(b"\n\n")
        for _ in range(8):
            self.clock.advance(_GAP)
        return before

    def test_cut(self) -> None:
        """After some tokens the connection is closed, behind them and at once; the sequence is gone too."""
        self.spoil(cut=2)
        for path, body in STREAMS.items():
            before = self.tokens_before(path, 2)
            exchange = self.post(path, {**body, "stream": True}, X_Spoil="yes")
            self.clock.advance(_GAP)
            self.assertEqual((200, False), (exchange.status, exchange.transport.disconnecting), path)
            self.assertEqual(before, exchange.body.count(b"\n\n"), path)
            self.clock.advance(_GAP)
            self.assertTrue(exchange.transport.disconnecting, path)
            self.assertTrue(self.idle(), path)
            self.assertEqual((before, False), (exchange.body.count(b"\n\n"), exchange.complete), path)
            self.assertTrue(exchange.body.endswith(b"\n\n"))

    def test_cut_before_tokens(self) -> None:
        """A stream can be cut before its first token, when that is due; the head is out then."""
        self.spoil(cut=0)
        for path in STREAMS:
            exchange = self.ask(path, stream=True, X_Spoil="yes")
            self.assertEqual((200, False), (exchange.status, exchange.complete))
            self.assertNotIn("one ", exchange.body.decode())
            self.assertTrue(exchange.transport.disconnecting)

    def test_cut_behind_tokens(self) -> None:
        """An answer that is shorter is cut where its end should come."""
        self.spoil(cut=50)
        for path in STREAMS:
            spoilt, whole = self.both(path, stream=True)
            self.assertEqual((True, False), (spoilt.transport.disconnecting, spoilt.complete))
            frames = self.frames(spoilt)
            self.assertEqual(frames[:-1], self.frames(whole)[: len(frames) - 1], path)
            self.assertTrue(frames[-1] == "" and len(frames) < len(self.frames(whole)))

    def test_truncated(self) -> None:
        """A frame breaks off in its middle, and the connection is closed."""
        self.spoil(truncate=2)
        for path in STREAMS:
            spoilt, whole = self.both(path, stream=True)
            frames, expected = self.frames(spoilt), self.frames(whole)
            self.assertEqual(self.tokens_before(path, 2), len(frames) - 1, path)
            self.assertEqual(expected[: len(frames) - 1], frames[:-1], path)
            self.assertTrue(frames[-1] and expected[len(frames) - 1].startswith(frames[-1]), path)
            self.assertNotEqual(expected[len(frames) - 1], frames[-1])
            self.assertEqual((True, False), (spoilt.transport.disconnecting, spoilt.complete), path)

    def test_truncated_and_ended(self) -> None:
        """The response may end behind a frame that breaks off, and the connection go on."""
        self.spoil(truncate={"tokens": 2, "then": "end"})
        for path in STREAMS:
            exchange = self.ask(path, stream=True, X_Spoil="yes")
            self.assertEqual((False, True), (exchange.transport.disconnecting, exchange.complete), path)
            self.assertFalse(exchange.body.endswith(b"\n\n"))
            self.assertTrue(self.idle())
            exchange.transport.clear()
            exchange.send("GET", "/health")
            self.assertEqual(200, exchange.status)

    def test_malformed(self) -> None:
        """One frame is no JSON, and all others are as they should be."""
        self.spoil(malformed=2)
        for path in STREAMS:
            spoilt, whole = self.both(path, stream=True)
            frames, expected = self.frames(spoilt), self.frames(whole)
            different = [i for i, pair in enumerate(zip(frames, expected, strict=True)) if pair[0] != pair[1]]
            self.assertEqual([self.tokens_before(path, 2)], different, path)
            data = frames[different[0]].partition("data: ")[2]
            self.assertEqual((False, len(expected[different[0]])), (is_json(data), len(frames[different[0]])))
            self.assertTrue(spoilt.complete)

    def test_malformed_end(self) -> None:
        """Where an answer is shorter, the first frame behind it is no JSON."""
        self.spoil(malformed=50)
        for path in STREAMS:
            spoilt, whole = self.both(path, stream=True)
            different = [
                pair for pair in zip(self.frames(spoilt), self.frames(whole), strict=True) if pair[0] != pair[1]
            ]
            self.assertEqual(1, len(different), path)
            if path.endswith(("completions", "generate")):
                self.assertEqual([("data: [DONE}", "data: [DONE]")], different)

    def test_done(self) -> None:
        """The last frame, which is [DONE] where there is one, is missing or there twice."""
        for how, count in (("missing", 0), ("twice", 2)):
            self.spoil(done=how)
            for path in STREAMS:
                spoilt, whole = self.both(path, stream=True)
                *frames, last, _ = self.frames(whole)
                self.assertEqual([*frames, *[last] * count, ""], self.frames(spoilt), path)
                self.assertTrue(spoilt.complete)
                if path.endswith(("completions", "generate")):
                    self.assertEqual("data: [DONE]", last)

    def test_at_once(self) -> None:
        """Tokens that come all at once are cut at the same place."""
        self.serve({"header": "x-spoil", "cut": 2})
        exchange = self.post("/v1/completions", {**STREAMS["/v1/completions"], "stream": True}, X_Spoil="yes")
        texts = [event["choices"][0]["text"] for event in exchange.events()]
        self.assertEqual((["one ", "two "], True), (texts, exchange.transport.disconnecting))

    def test_journal(self) -> None:
        """The journal tells which rule has hit a request, and when it came to its end."""
        for rule, status in (({"cut": 2}, 200), ({"truncate": {"tokens": 2, "then": "end"}}, 200), ({"stall": 2}, 200),
                             ({"status": 503}, 503), ({"reset": True}, None)):  # fmt: skip
            self.spoil(name="mine", **rule)
            self.ask("/v1/completions", stream=True, X_Spoil="yes").drop()
            self.ask("/v1/completions", stream=True)
            spoilt, whole = self.get("/admin/requests").json()["requests"]
            self.assertEqual(
                ("mine", "injected", status, 0),
                (spoilt["fault"], spoilt["outcome"], spoilt["status"], spoilt["running"]),
            )
            ended = {"cut": 0.02, "truncate": 0.02, "stall": 0.08}.get(next(iter(rule)), 0.0)
            self.assertEqual(ended, round(spoilt["times"]["finished"], 6))
            self.assertEqual((None, "completed"), (whole["fault"], whole["outcome"]))

    def test_choices(self) -> None:
        """Of several choices the first that has so many tokens decides."""
        self.spoil(malformed=3)
        exchange = self.post("/v1/completions", {"prompt": ["a", TEXT, TEXT], "stream": True}, X_Spoil="yes")
        for _ in range(8):
            self.clock.advance(_GAP)
        wrong = [frame for frame in exchange.body.decode().split("\n\n")[:-2] if not is_json(frame[6:])]
        self.assertEqual(1, len(wrong))
        self.assertIn('"index":1', wrong[0])
        self.assertIn('"four"', wrong[0])

    def test_slow_reader(self) -> None:
        """A client that reads slowly sees the same bytes, and then the end of the connection."""
        self.spoil(cut=2)
        exchange = self.post("/v1/completions", {**STREAMS["/v1/completions"], "stream": True}, X_Spoil="yes")
        exchange.channel.pauseProducing()
        for _ in range(8):
            self.clock.advance(_GAP)
        self.assertFalse(exchange.transport.disconnecting)
        exchange.channel.resumeProducing()
        self.clock.advance(0)
        texts = [event["choices"][0]["text"] for event in exchange.events()]
        self.assertEqual((["one ", "two "], True), (texts, exchange.transport.disconnecting))
        self.clock.advance(0)
        self.assertTrue(self.idle())

    def test_cut_choices(self) -> None:
        """When one choice is cut, nothing more comes of the others."""
        self.spoil(cut=2)
        exchange = self.post("/v1/completions", {"prompt": [TEXT] * 3, "stream": True}, X_Spoil="yes")
        for _ in range(8):
            self.clock.advance(_GAP)
        self.assertEqual([0, 1, 2, 0, 1, 2], [event["choices"][0]["index"] for event in exchange.events()])
        self.assertTrue(exchange.transport.disconnecting and self.idle())

    def test_gathered_tokens(self) -> None:
        """Where tokens are gathered, the frame that has the token is the one that goes wrong."""
        self.spoil(malformed=2)
        body = {**STREAMS["/v1/completions"], "stream": True, "stream_interval": 3}
        exchange = self.post("/v1/completions", body, X_Spoil="yes")
        for _ in range(8):
            self.clock.advance(_GAP)
        frames = [frame.removeprefix("data: ") for frame in exchange.body.decode().split("\n\n")]
        self.assertEqual([True, False, True], [is_json(frame) for frame in frames[:3]])
        self.assertIn('"text":"two three four"', frames[1])

    def test_error_before(self) -> None:
        """A stream that ends in an error tells it, if the damage has not come yet."""
        self.spoil(cut=3)
        exchange = self.post("/v1/completions", {**STREAMS["/v1/completions"], "stream": True}, X_Spoil="yes")
        self.rank.simulator.requests.dismiss()
        self.clock.advance(0)
        error, done = exchange.events()[-2:]
        self.assertEqual((503, "[DONE]"), (error["error"]["code"], done))

    def test_error_behind(self) -> None:
        """An error after the damage is not told to a client whose stream is over."""
        self.spoil(cut=2)
        self.ask("/v1/completions", stream=True, X_Spoil="yes")
        self.rank.control.abort(())
        self.assertEqual([], self.flushLoggedErrors())

    def test_gone(self) -> None:
        """A client that leaves before the damage leaves nothing behind."""
        self.spoil(cut=3)
        exchange = self.post("/v1/completions", {**STREAMS["/v1/completions"], "stream": True}, X_Spoil="yes")
        self.clock.advance(_GAP)
        request = exchange.channel._served
        exchange.drop()
        self.assertTrue(self.idle())
        said = exchange.raw
        request.hang_up()
        request.end_early()
        self.clock.advance(0)
        self.assertEqual((said, False), (exchange.raw, exchange.transport.disconnecting))


class WholeTests(DamageCase):
    """Answers in one piece."""

    ROUTES = (*STREAMS, "/v1/embeddings")

    def ask(self, path: str, *, stream: bool = False, **headers: str) -> Exchange:
        """Ask for an answer, and wait for its end."""
        if path in STREAMS:
            return super().ask(path, stream=stream, **headers)
        return self.post(path, {"input": TEXT, "dimensions": 8}, **headers)

    def test_cut(self) -> None:
        """The connection is closed when the answer has so many tokens, and nothing has come."""
        self.spoil(cut=2)
        for path, body in STREAMS.items():
            exchange = self.post(path, body, X_Spoil="yes")
            self.assertFalse(exchange.transport.disconnecting, path)
            self.clock.advance(_GAP)
            self.assertEqual((b"", True), (exchange.raw, exchange.transport.disconnecting), path)
            self.clock.advance(0)
            self.assertTrue(self.idle())
        exchange = self.ask("/v1/embeddings", X_Spoil="yes")
        self.assertEqual((b"", True), (exchange.raw, exchange.transport.disconnecting))

    def test_cut_short_answers(self) -> None:
        """An answer that is shorter is cut with its last token."""
        self.spoil(cut=50)
        exchange = self.ask("/v1/completions", X_Spoil="yes")
        self.assertEqual((b"", True), (exchange.raw, exchange.transport.disconnecting))

    def test_truncated(self) -> None:
        """Half of the body comes; the head tells of the whole."""
        self.spoil(truncate=0)
        for path in self.ROUTES:
            spoilt, whole = self.both(path, stream=False)
            self.assertEqual((200, whole.headers["content-length"]), (spoilt.status, spoilt.headers["content-length"]))
            self.assertEqual((len(whole.body) // 2, True), (len(spoilt.body), spoilt.transport.disconnecting), path)
            self.assertTrue(self.idle())

    def test_truncated_and_ended(self) -> None:
        """Half of the body comes, and the head says that this is all."""
        self.spoil(truncate={"then": "end"})
        for path in self.ROUTES:
            spoilt, whole = self.both(path, stream=False)
            self.assertEqual((len(whole.body) // 2, False, True), (len(spoilt.body), spoilt.transport.disconnecting,
                                                                   spoilt.complete), path)  # fmt: skip

    def test_malformed(self) -> None:
        """The body is as long as it should be, and no JSON."""
        self.spoil(malformed=0)
        for path in self.ROUTES:
            spoilt, whole = self.both(path, stream=False)
            self.assertEqual((len(whole.body), True), (len(spoilt.body), spoilt.complete))
            self.assertEqual((False, True), (is_json(spoilt.body.decode()), is_json(whole.body.decode())), path)

    def test_done(self) -> None:
        """What is said of the end of streams means no answer in one piece."""
        self.spoil(done="missing")
        exchange = self.ask("/v1/completions", X_Spoil="yes")
        self.assertTrue(is_json(exchange.body.decode()))
        self.assertEqual({"rule-1": (0, 0)}, self.tallies())

    def test_done_without_streams(self) -> None:
        """A route that does not stream, whatever the body says, answers whole."""
        self.spoil(done="missing")
        exchange = self.post("/v1/embeddings", {"input": "a", "stream": True}, X_Spoil="yes")
        self.assertTrue(exchange.complete and is_json(exchange.body.decode()))

    def test_other_ends(self) -> None:
        """What ends in a list is spoilt as well as what ends in an object."""
        self.assertEqual((b"[1}", b'{"a":1]\n\n'), (malformed(b"[1]"), malformed(b'{"a":1}\n\n')))


class TimeTests(DamageCase):
    """Answers that come late, in every dialect."""

    def test_late(self) -> None:
        """A first token or a stall has streams and whole answers come so much later."""
        self.spoil(**{"first-token": "1s", "stall": {"tokens": 2, "for": "2s"}})
        for path in STREAMS:
            stream = self.ask(path, stream=True, X_Spoil="yes")
            whole = self.ask(path, stream=False, X_Spoil="yes")
            self.assertEqual((0, 0), (stream.status, whole.status))
            self.clock.advance(1)
            self.assertEqual((200, 0), (stream.status, whole.status))
            self.assertFalse(stream.complete)
            self.clock.advance(1.8)
            self.assertFalse(stream.complete)
            for _ in range(8):
                self.clock.advance(0.1)
            self.assertEqual((True, True), (stream.complete, whole.complete), path)
            self.assertEqual(len(self.frames(self.ask(path, stream=True))), len(self.frames(stream)))

    def test_stall_for_ever(self) -> None:
        """A stall without an end lasts until the client leaves, which frees its slot."""
        self.spoil(stall=2)
        for path in STREAMS:
            exchange = self.ask(path, stream=True, X_Spoil="yes")
            self.clock.advance(1e5)
            self.assertEqual((200, False, 1), (exchange.status, exchange.complete, self.rank.slots.running))
            exchange.drop()
            self.assertTrue(self.idle())

    def test_pooling(self) -> None:
        """Vectors come as late as first tokens, and never where answers stall for ever."""
        self.spoil(**{"first-token": "1s"})
        exchange = self.post("/v1/embeddings", {"input": ["a", "b"]}, X_Spoil="yes")
        self.clock.advance(0.9)
        self.assertEqual(0, exchange.status)
        self.clock.advance(0.2)
        self.assertEqual(200, exchange.status)
        self.spoil(stall=2)
        exchange = self.post("/v1/embeddings", {"input": "a"}, X_Spoil="yes")
        self.clock.advance(1e5)
        self.assertEqual(0, exchange.status)
        exchange.drop()
        self.assertTrue(self.idle())

    def test_background(self) -> None:
        """A response in the background takes the time that it is to take."""
        self.serve({"first-token": "1s"}, enable_responses_store="true")
        name = self.post("/v1/responses", {"input": "hi", "background": True}).json()["id"]
        self.clock.advance(0.9)
        self.assertEqual("queued", self.get(f"/v1/responses/{name}").json()["status"])
        self.clock.advance(0.2)
        self.assertEqual("completed", self.get(f"/v1/responses/{name}").json()["status"])

    def test_bytes_in_the_background(self) -> None:
        """Nobody is sent the bytes of such a response, and a rule that would spoil them alone leaves it alone."""
        rules = {"name": "both", "stall": {"tokens": 0, "for": "1s"}, "cut": 1, "times": 1}, {"name": "cut", "cut": 1}
        self.serve(*rules, enable_responses_store="true")
        for background, stream in ((True, False), (True, True), (False, True)):
            exchange = self.post("/v1/responses", {"input": "hi", "background": background, "stream": stream})
            self.clock.advance(1.1)
            self.assertEqual(background, exchange.complete)
        self.assertEqual({"both": (3, 1), "cut": (1, 1)}, self.tallies())
        outcomes = [record["outcome"] for record in self.get("/admin/requests").json()["requests"]]
        self.assertEqual(["injected", "completed", "injected"], outcomes)
