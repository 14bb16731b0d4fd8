"""Watch what a server has cached (pip install pyzmq msgspec).

Start one first: make run ARGS="--enable-kvcache --zmq-endpoint 'tcp://*:5557' --kv-events-replay-endpoint 'tcp://*:5558'"

Events are read in both encodings, and a block that was announced twice is there twice. What was published before this
program came, and what it loses on its way, it asks for once more.
"""

import sys
from collections import Counter
from typing import Any

import msgspec
import zmq

END = b"\xff" * 8


class Picture:
    """What is cached, by hash: how many blocks have it."""

    def __init__(self) -> None:
        self.blocks: Counter[int | bytes] = Counter()
        self.next = 0

    def take(self, number: int, payload: bytes) -> None:
        """Take a batch of events, unless it has come before."""
        if number < self.next:
            return
        if number > self.next:
            print(f"batches {self.next} to {number - 1} are lost")
        self.next = number + 1
        _time, events, *rank = msgspec.msgpack.decode(payload)
        for event in events:
            kind, hashes = self._apply(event)
            print(f"{number} rank {rank} {kind} {hashes[:2]} of {len(hashes)}: {self.blocks.total()} blocks are cached")

    def _apply(self, event: Any) -> tuple[str, list[int | bytes]]:
        kind, *members = event.values() if isinstance(event, dict) else event
        hashes = members[0] if members else []
        if kind == "BlockStored":
            self.blocks.update(hashes)
        elif kind == "BlockRemoved":
            self.blocks.subtract(hashes)
        elif kind == "AllBlocksCleared":
            self.blocks.clear()
        return kind, hashes


def catch_up(picture: Picture, socket: "zmq.Socket[bytes]") -> None:
    """Ask for all that is kept from the next batch on."""
    socket.send_multipart([b"", picture.next.to_bytes(8, "big")])
    while socket.poll(2000):
        answer = socket.recv_multipart()
        if answer[2] == END:
            return
        picture.take(int.from_bytes(answer[2], "big"), answer[3])
    print("nobody answers at the replay endpoint")


def main(endpoint: str = "tcp://127.0.0.1:5557", replay_endpoint: str = "tcp://127.0.0.1:5558") -> None:
    """Print events as they come."""
    context = zmq.Context()
    live, replay = context.socket(zmq.SUB), context.socket(zmq.DEALER)
    live.subscribe("")
    live.connect(endpoint)
    replay.connect(replay_endpoint)
    catch_up(picture := Picture(), replay)
    last = -1
    while True:
        _topic, number_bytes, payload = live.recv_multipart()
        number = int.from_bytes(number_bytes, "big")
        if number <= last:
            picture = Picture()  # the server has started anew
        if number > picture.next:
            catch_up(picture, replay)
        picture.take(number, payload)
        last = number


if __name__ == "__main__":
    main(*sys.argv[1:])
