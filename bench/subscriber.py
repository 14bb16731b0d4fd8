# -*- test-case-name: tests.integration.test_bench -*-
"""A subscriber to KV events, as a process that counts them: ``python -m bench.subscriber ENDPOINT``.

It says ``ready`` when it is connected, and when its standard input ends a line for each batch: the time in nanoseconds
at which it came, its number, and how many events it has.
"""

import select
import sys
import time
from typing import Final

import msgpack
import zmq

_PATIENCE_MS: Final = 10_000


def main(endpoint: str) -> int:
    """Count until nobody wants to know any more."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.subscribe(b"")
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        socket.connect(endpoint)
        if not monitor.poll(_PATIENCE_MS):
            print(f"Nobody is at {endpoint}.", file=sys.stderr)
            return 1
        socket.disable_monitor()
        monitor.close(0)
        print("ready", flush=True)
        lines: list[str] = []
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(sys.stdin.fileno(), select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if socket in ready:
                _topic, number, payload = socket.recv_multipart()
                events = msgpack.unpackb(payload)[1]
                lines.append(f"{time.monotonic_ns()} {int.from_bytes(number, 'big')} {len(events)}")
            elif ready:
                print("\n".join(lines))
                return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
