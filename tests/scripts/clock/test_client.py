"""How a stream is read; the sockets are in tests.integration.test_clock."""

import resource

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.clock.client import NoFiles, Stream, allow_connections

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(*texts: str) -> bytes:
    """Write events as a chunk."""
    data = "".join(f"data: {text}\n\n" for text in texts).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def token(text: str) -> str:
    """Make a token's event."""
    return f'{{"choices":[{{"index":0,"text":"{text}","finish_reason":null}}]}}'


def ending(tokens: int) -> bytes:
    """Write the usage and the end."""
    usage = f'{{"choices":[],"usage":{{"prompt_tokens":5,"total_tokens":{tokens + 5},"completion_tokens":{tokens}}}}}'
    return chunk(usage, "[DONE]") + b"0\r\n\r\n"


class StreamTests(SynchronousTestCase):
    """Bytes in, arrivals out."""

    def test_tokens(self) -> None:
        """Every token has the time at which it came, and the answer is finished when all have come."""
        stream = Stream(3)
        stream.received(HEAD + chunk(token("a")), 10)
        stream.received(chunk(token("b")), 20)
        self.assertFalse(stream.finished)
        stream.received(chunk(token("\\n\\n")) + ending(3), 30)
        self.assertEqual([10, 20, 30], list(stream.arrivals))
        self.assertEqual((True, "", 5, 0), (stream.finished, stream.fault, stream.prompt_tokens, stream.together))

    def test_cut(self) -> None:
        """Wherever the network cuts the bytes, the tokens are the same; each comes with its last byte."""
        data = HEAD + chunk(token("a")) + chunk(token("b")) + ending(2)
        ends = [data.index(b"\n\n") + 2, data.index(b"\n\n", data.index(b"\n\n") + 2) + 2]
        for size in range(1, len(data)):
            stream = Stream(2)
            for start in range(0, len(data), size):
                stream.received(data[start : start + size], min(start + size, len(data)))
            self.assertTrue(stream.finished)
            self.assertEqual([min(-(-end // size) * size, len(data)) for end in ends], list(stream.arrivals))

    def test_together(self) -> None:
        """Tokens that were read together are counted: only the last has a time of its own."""
        stream = Stream(4)
        stream.received(HEAD + chunk(token("a"), token("b")) + chunk(token("c")), 10)
        stream.received(chunk(token("d")) + ending(4), 20)
        self.assertEqual(([10, 10, 10, 20], 2), (list(stream.arrivals), stream.together))

    def test_short(self) -> None:
        """An answer that ends too early is no answer."""
        stream = Stream(3)
        stream.received(HEAD + chunk(token("a")) + ending(1), 10)
        self.assertFalse(stream.finished)
        self.assertEqual("1 of 1 tokens came, and 3 were asked", stream.fault)
        self.assertEqual([10], list(stream.arrivals))

    def test_refused(self) -> None:
        """What the server says about a request that it refuses is told."""
        stream = Stream(3)
        stream.received(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 42\r\n\r\n", 10)
        stream.received(b'{"error":{"message":"too \\"long\\"","code":400}}\n\n', 11)
        stream.lost("the connection was closed")
        self.assertEqual(([], 'too \\"long\\"'), (list(stream.arrivals), stream.fault))
        stream = Stream(3)
        stream.received(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", 10)
        stream.lost("the connection was closed")
        self.assertEqual("HTTP/1.1 502 Bad Gateway", stream.fault)

    def test_error(self) -> None:
        """An error in the middle of a stream is no token."""
        stream = Stream(3)
        stream.received(HEAD + chunk(token("a")), 10)
        stream.received(chunk('{"error":{"message":"it broke","code":500}}', "[DONE]") + b"0\r\n\r\n", 20)
        self.assertEqual(([10], "it broke", False), (list(stream.arrivals), stream.fault, stream.finished))

    def test_lost(self) -> None:
        """A connection that is closed in the middle has lost the rest, and one that is complete has lost nothing."""
        stream = Stream(3)
        stream.received(HEAD + chunk(token("a")), 10)
        stream.lost("the connection was closed")
        self.assertEqual(([10], "the connection was closed"), (list(stream.arrivals), stream.fault))
        whole = Stream(1)
        whole.received(HEAD + chunk(token("a")) + ending(1), 10)
        whole.lost("the connection was closed")
        self.assertEqual((True, ""), (whole.finished, whole.fault))


class FileTests(SynchronousTestCase):
    """How many connections there may be."""

    def test_limit(self) -> None:
        """The limit is raised as far as the system allows, and more connections than that are refused in words."""
        limits = [256, 1024]
        self.patch(resource, "getrlimit", lambda _which: tuple(limits))
        self.patch(resource, "setrlimit", lambda _which, new: limits.__setitem__(slice(None), new))
        allow_connections(100)
        self.assertEqual([256, 1024], limits)
        allow_connections(500)
        self.assertEqual([1024, 1024], limits)
        error = self.assertRaises(NoFiles, allow_connections, 1000)
        self.assertEqual("1100 files would be open, and this system allows 1024; see ulimit -Hn", str(error))
