"""Subscribers to KV events as they should not be: ``python -m tests.soak.restless SEED ENDPOINT REPLAY_ENDPOINT``.

One comes and goes, one does not read, one asks for what it missed and leaves in the middle of the answer, and one asks
what nobody can answer. When the standard input ends they say how often they came.
"""

import json
import select
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

import zmq
from attrs import define, field

_PATIENCE_MS: Final = 20_000
_STALL: Final = 20.0
"""Seconds for which one does not read."""


@define(eq=False)
class Restless:
    """All of them, one after the other, but for the one that does not read, who is beside the others."""

    random: Random
    endpoint: str
    replay_endpoint: str
    context: "zmq.Context[zmq.Socket[bytes]]" = field(factory=zmq.Context)
    done: Counter[str] = field(factory=Counter)

    def socket(self, kind: int, endpoint: str, waiting: int = 1000) -> "zmq.Socket[bytes]":
        """Connect a socket.

        :param waiting: messages that may wait to be read.
        """
        socket = self.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, waiting)
        socket.connect(endpoint)
        return socket

    def run(self) -> None:
        """Come and go until the standard input ends."""
        acts: list[Callable[[], None]] = [self.listen, self.miss, self.give_up, self.babble]
        lazy, since = self.lie_down(), time.monotonic()
        while not select.select([sys.stdin], [], [], self.random.uniform(0.05, 1.0))[0]:
            act = self.random.choice(acts)
            act()
            self.done[act.__name__] += 1
            if time.monotonic() - since > _STALL:
                lazy.close()
                lazy, since = self.lie_down(), time.monotonic()
        lazy.close()
        self.context.destroy(0)

    def lie_down(self) -> "zmq.Socket[bytes]":
        """Subscribe, and read nothing."""
        self.done["lie_down"] += 1
        socket = self.socket(zmq.SUB, self.endpoint, 1)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        return socket

    def listen(self) -> None:
        """Subscribe, read a few batches, and leave."""
        with self.socket(zmq.SUB, self.endpoint) as socket:
            socket.setsockopt(zmq.SUBSCRIBE, self.random.choice((b"", b"kv@", b"nobody")))
            until = time.monotonic() + self.random.uniform(0.0, 1.0)
            while (left := until - time.monotonic()) > 0:
                if socket.poll(int(1e3 * left)):
                    socket.recv_multipart()

    def miss(self) -> None:
        """Ask for what there is, from anywhere on, and read all of it."""
        with self.socket(zmq.DEALER, self.replay_endpoint) as socket:
            socket.send_multipart([b"", self.random.randrange(3000).to_bytes(8, "big")])
            while socket.poll(_PATIENCE_MS):
                if socket.recv_multipart()[2] == b"\xff" * 8:
                    return
            self.done["unanswered"] += 1

    def give_up(self) -> None:
        """Ask for everything, and leave while it comes."""
        with self.socket(zmq.DEALER, self.replay_endpoint, 2) as socket:
            socket.send_multipart([b"", bytes(8)])
            for _ in range(self.random.randrange(5)):
                if socket.poll(1000):
                    socket.recv_multipart()

    def babble(self) -> None:
        """Say what is no question."""
        with self.socket(self.random.choice((zmq.DEALER, zmq.REQ)), self.replay_endpoint) as socket:
            socket.send_multipart([self.random.randbytes(self.random.randrange(64)) for _ in range(2)])
            socket.poll(20)


if __name__ == "__main__":
    restless = Restless(Random(sys.argv[1]), sys.argv[2], sys.argv[3])
    restless.run()
    print(json.dumps(restless.done))  # noqa: T201 - it is a program
