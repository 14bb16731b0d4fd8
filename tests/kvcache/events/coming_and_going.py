"""Publishes while subscribers come and go: ``python -m tests.kvcache.events.coming_and_going SECONDS MOST_BYTES``.

It is a program, since what it tries once took the whole process down. Subscribers come and go for a while, and rest for
longer than it takes until nothing is left of them.
"""

import sys
import tempfile
import time
from multiprocessing import Process
from random import Random
from typing import Any
from unittest.mock import patch

import zmq
from attrs import evolve
from twisted.internet.defer import succeed

from tests.kvcache.events.test_publishing import SETTINGS
from tests.kvcache.recording import EventCounts
from vllmsim.kvcache.events import publishing
from vllmsim.kvcache.events.sockets import EventSockets

_BUSY = 1.0
_REST = 1.5


def come_and_go(endpoint: str, seed: int, until: float) -> None:
    """Subscribe and leave again, with and without reading."""
    random, begun = Random(seed), time.monotonic()
    with zmq.Context() as context:
        while (now := time.monotonic()) < until:
            if (now - begun) % (_BUSY + _REST) > _BUSY:
                time.sleep(0.01)
                continue
            with context.socket(zmq.SUB) as socket:
                socket.setsockopt(zmq.LINGER, 0)
                socket.connect(endpoint)
                socket.setsockopt(zmq.SUBSCRIBE, b"")
                socket.poll(random.randrange(20))


def main(seconds: float, folder: str) -> None:
    """Publish a message every half millisecond."""
    # Not before the process is the one that stays.
    from twisted.internet import reactor as installed  # noqa: PLC0415
    from twisted.internet.task import LoopingCall  # noqa: PLC0415

    reactor: Any = installed
    endpoint, until = f"ipc://{folder}/events", time.monotonic() + seconds
    others = [Process(target=come_and_go, args=(endpoint, seed, until)) for seed in range(6)]
    for other in others:
        other.start()
    sockets = EventSockets(evolve(SETTINGS, endpoint=endpoint), EventCounts(), lambda function: succeed(function()))
    sockets.open()
    LoopingCall(lambda: sockets.publish(0, b"x" * 4096, 1)).start(0.0005)
    reactor.callLater(seconds, reactor.stop)
    reactor.run()
    for other in others:
        other.join()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, patch.object(publishing, "_MOST_BYTES", int(sys.argv[2])):
        main(float(sys.argv[1]), place)
