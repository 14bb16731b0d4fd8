"""What is asked of a daemon that stops, and clients of HTTP/2 that say how each exchange ended."""

import contextlib
import json
import socket
from collections import Counter
from itertools import count
from typing import Any

import grpc

from tests.faults.clients import request
from tests.integration.calling import ENGINE, Wire, prompt
from tests.integration.daemon import PATIENCE
from vllmsim.api.frames import frame

_numbers = count()


def completion(tokens: int, *, stream: bool = False) -> dict[str, Any]:
    """Make a request that no other is like, of some blocks."""
    text = " ".join(f"w{next(_numbers)}" for _ in range(40))
    return {"prompt": text, "max_tokens": tokens, "ignore_eos": True, "stream": stream}


def asking(tokens: int, *, stream: bool = False) -> bytes:
    """Make the bytes of such a request."""
    return request("/v1/completions", completion(tokens, stream=stream))


def call(tokens: int) -> bytes:
    """Make the message of a call, in its frame."""
    asked = prompt(range(1, 20), stream=True, sampling={"max_tokens": tokens, "ignore_eos": True})
    return frame(asked.SerializeToString())


class Calls:
    """A connection of HTTP/2 with requests and calls, and what came of them."""

    def __init__(self, port: int) -> None:
        self.wire = Wire(socket.create_connection(("127.0.0.1", port), PATIENCE))
        self.calls: list[int] = []
        self.requests: list[int] = []

    def send(self, tokens: int) -> "Calls":
        """Send a call, a request for a stream and one for a whole answer."""
        self.calls.append(self.wire.call(f"{ENGINE}Generate", call(tokens)))
        for stream in (True, False):
            body = json.dumps(completion(tokens, stream=stream)).encode()
            self.requests.append(self.wire.call("/v1/completions", body, content_type="application/json"))
        return self

    def read_to_end(self) -> "Calls":
        """Read until the connection ends, also when nothing can be sent any more."""
        try:
            while not self.wire.closed:
                with contextlib.suppress(BrokenPipeError):
                    self.wire.read()
            self.ending = "end"
        except ConnectionError:
            self.ending = "reset"
        except TimeoutError:
            self.ending = "hung"
        self.wire.socket.close()
        return self

    def tally(self) -> Counter[str]:
        """Count how they ended."""
        wire = self.wire
        counted = Counter(self._how(number) for number in (*self.calls, *self.requests))
        counted["without a goodbye"] += wire.gone is None
        return +counted

    def _how(self, number: int) -> str:
        wire, headers = self.wire, self.wire.headers.get(number, {})
        # REFUSED_STREAM says that nothing has begun.
        if wire.reset.get(number) == 7:
            return "refused"
        if number not in wire.ended:
            return f"no answer, {self.ending}"
        if number in self.calls:
            code = grpc.StatusCode.UNAVAILABLE.value[0]
            return {"0": "whole", str(code): "503"}.get(headers["grpc-status"], headers["grpc-status"])
        if headers[":status"] != "200":
            return headers[":status"]
        body = wire.bodies[number]
        if b'"error":{' in body:
            return "told in its stream"
        return "whole" if b"[DONE]" in body or body.endswith(b"}") else "truncated"
