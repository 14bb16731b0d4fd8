"""A subscriber to KV events that knows nothing of vllmsim: pyzmq, msgspec, and structs as vLLM documents them.

As a program it keeps what it takes in a file, so that it can be killed and go on::

    python -m tests.integration.kv_subscriber ENDPOINT REPLAY_ENDPOINT maps|arrays FILE
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import zmq

END = b"\xff" * 8
PATIENCE_MS = 10_000

BlockHash: TypeAlias = int | bytes


class _Stored(msgspec.Struct, omit_defaults=True):
    block_hashes: list[BlockHash]
    parent_block_hash: BlockHash | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: list[list[Any] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None
    kv_cache_spec_sliding_window: int | None = None


class _Removed(msgspec.Struct, omit_defaults=True):
    block_hashes: list[BlockHash]
    medium: str | None = None
    group_idx: int | None = None


class BlockStored(_Stored, tag="BlockStored"):
    """Blocks became full, written as a map."""


class BlockRemoved(_Removed, tag="BlockRemoved"):
    """Blocks were given to others, written as a map."""


class AllBlocksCleared(msgspec.Struct, tag="AllBlocksCleared"):
    """Everything is forgotten, written as a map."""


class StoredArray(_Stored, array_like=True, tag="BlockStored"):
    """Blocks became full, written as an array."""


class RemovedArray(_Removed, array_like=True, tag="BlockRemoved"):
    """Blocks were given to others, written as an array."""


class ClearedArray(msgspec.Struct, array_like=True, tag="AllBlocksCleared"):
    """Everything is forgotten, written as an array."""


class MapBatch(msgspec.Struct, array_like=True):
    """Events as vLLM writes them today."""

    ts: float
    events: list[BlockStored | BlockRemoved | AllBlocksCleared]
    data_parallel_rank: int | None = None


class ArrayBatch(msgspec.Struct, array_like=True):
    """Events as vLLM wrote them before."""

    ts: float
    events: list[StoredArray | RemovedArray | ClearedArray]
    data_parallel_rank: int | None = None


class Picture:
    """What a server has cached, as far as its events tell.

    :param maps: whether events are maps.
    :param check: sees each event of new blocks, to find out whether its hashes are what they should be.
    """

    def __init__(self, *, maps: bool, check: Callable[[_Stored], object] = lambda _: None) -> None:
        self._decode: Callable[[bytes], MapBatch | ArrayBatch] = (
            msgspec.msgpack.Decoder(MapBatch).decode if maps else msgspec.msgpack.Decoder(ArrayBatch).decode
        )
        self._check = check
        self.blocks: Counter[BlockHash] = Counter()
        self.next = 0
        """The number of the next batch."""
        self.lost = 0
        """How many batches never came."""
        self.events = 0
        self.kinds: Counter[str] = Counter()
        self.ranks: set[int | None] = set()

    def take(self, number: int, payload: bytes) -> None:
        """Take the next batch, or one behind some that are lost."""
        if number < self.next:
            raise ValueError(f"batch {number} comes after batch {self.next - 1}")
        self.lost += number - self.next
        batch = self._decode(payload)
        self.ranks.add(batch.data_parallel_rank)
        for event in batch.events:
            self.events += 1
            self.kinds[str(type(event).__struct_config__.tag)] += 1
            if isinstance(event, _Stored):
                self._store(event)
            elif isinstance(event, _Removed):
                for digest in event.block_hashes:
                    self._remove(digest)
            else:
                self.blocks.clear()
        self.next = number + 1

    def _store(self, event: _Stored) -> None:
        if len(event.token_ids) != event.block_size * len(event.block_hashes):
            raise ValueError(f"{len(event.token_ids)} tokens in {len(event.block_hashes)} blocks")
        # Arrays of llm-d-inference-sim have 0 for no parent.
        if event.parent_block_hash and not self.lost and event.parent_block_hash not in self.blocks:
            raise ValueError(f"nobody told of the parent {event.parent_block_hash!r}")
        self._check(event)
        self.blocks.update(event.block_hashes)

    def _remove(self, digest: BlockHash) -> None:
        if not self.blocks[digest] and not self.lost:
            raise ValueError(f"{digest!r} is removed, and was never stored")
        self.blocks[digest] -= 1
        if self.blocks[digest] <= 0:
            del self.blocks[digest]


class Subscriber:
    """Reads a live stream, and asks for what it missed.

    :param endpoint: where events are published; it is connected to, unless `binds`.
    :param replay_endpoint: where batches can be had once more; nowhere if empty.
    :param topic: what topics begin with.
    """

    def __init__(
        self,
        picture: Picture,
        endpoint: str,
        replay_endpoint: str = "",
        *,
        topic: bytes = b"",
        binds: bool = False,
        kept: Callable[[int, bytes], object] = lambda *_: None,
    ) -> None:
        self.picture = picture
        self.topics: set[bytes] = set()
        self._kept = kept
        self._zmq = zmq.Context()
        self._replay_endpoint = replay_endpoint
        self._live = self._zmq.socket(zmq.SUB)
        self._live.setsockopt(zmq.SUBSCRIBE, topic)
        self._live.setsockopt(zmq.RCVHWM, 0)
        (self._live.bind if binds else self._live.connect)(endpoint)

    def close(self) -> None:
        """Go away."""
        self._zmq.destroy(0)

    def read(self, patience_ms: int = PATIENCE_MS) -> bool:
        """Take the next message of the live stream, and all that was missed before it.

        :return: whether one came.
        """
        if not self._live.poll(patience_ms):
            return False
        topic, number_bytes, payload = self._live.recv_multipart()
        self.topics.add(topic)
        number = int.from_bytes(number_bytes, "big")
        if number > self.picture.next:
            self.catch_up()
        if number >= self.picture.next:
            self._take(number, payload)
        return True

    def drain(self) -> None:
        """Take what is there."""
        while self.read(0):
            pass

    def catch_up(self) -> None:
        """Ask for everything from the next batch on."""
        if self._replay_endpoint:
            for topic, number, payload in self._ask(self.picture.next):
                self.topics.add(topic)
                self._take(number, payload)

    def _ask(self, start: int) -> Iterator[tuple[bytes, int, bytes]]:
        with self._zmq.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
            socket.connect(self._replay_endpoint)
            socket.send_multipart([b"", start.to_bytes(8, "big")])
            while True:
                empty, topic, number, payload = socket.recv_multipart()
                if empty:
                    raise ValueError("the first frame is not empty")
                if number == END:
                    if topic or payload:
                        raise ValueError("the end has a topic or a payload")
                    return
                yield topic, int.from_bytes(number, "big"), payload

    def _take(self, number: int, payload: bytes) -> None:
        self.picture.take(number, payload)
        self._kept(number, payload)


def keep(descriptor: int, number: int, payload: bytes) -> None:
    """Write a batch to a file, with one call so that it is there whole or not at all."""
    os.write(descriptor, number.to_bytes(8, "big") + len(payload).to_bytes(4, "big") + payload)


def kept(path: Path) -> Iterator[tuple[int, bytes]]:
    """Read the batches in a file, but for a last one that is not whole."""
    data = path.read_bytes() if path.exists() else b""
    while len(data) >= 12 and len(data) >= 12 + (size := int.from_bytes(data[8:12], "big")):
        yield int.from_bytes(data[:8], "big"), data[12 : 12 + size]
        data = data[12 + size :]


def main(endpoint: str, replay_endpoint: str, form: str, file: str) -> None:
    """Go on where the file ends, for ever."""
    picture, path = Picture(maps=form == "maps"), Path(file)
    for number, payload in kept(path):
        picture.take(number, payload)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    subscriber = Subscriber(
        picture, endpoint, replay_endpoint, kept=lambda number, payload: keep(descriptor, number, payload)
    )
    while True:
        # What was published before the live stream reached us is not in it.
        subscriber.catch_up()
        print(picture.next, picture.lost, flush=True)  # noqa: T201 - it is a program
        while subscriber.read(500):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
