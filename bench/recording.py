# -*- test-case-name: tests.bench.test_recording -*-
"""What vllmsim sends, in the pieces in which the controls send it again."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

_EVENT_END: Final = b"\n\n"
_CHUNK_END: Final = b"\r\n"
_STREAM_END: Final = b"data: [DONE]\n\n\r\n0\r\n\r\n"
_TIMEOUT: Final = 20.0


@frozen
class Recording:
    """A stream of events: all before the first token, a piece for each token, and the end with the last one.

    :param pieces: three at least, since a stream of any length is made of those in the middle.
    """

    pieces: Sequence[bytes]

    @classmethod
    def cut(cls, stream: bytes) -> "Recording":
        """Cut the bytes of a response behind each event.

        :param stream: the response, its head included.
        :raises ValueError: if it is no complete stream, or has less than two tokens.
        """
        if not stream.endswith(_STREAM_END):
            raise ValueError(f"The stream does not end as it should: {stream[-40:]!r}.")
        pieces, at = [], 0
        while (end := stream.find(_EVENT_END, at)) >= 0:
            end += len(_EVENT_END)
            if stream.startswith(_CHUNK_END, end):
                end += len(_CHUNK_END)
            pieces.append(stream[at:end])
            at = end
        done = pieces.pop() + stream[at:]
        if len(pieces) < 3:  # noqa: PLR2004 - what the class says
            raise ValueError("The stream has too few tokens.")
        pieces[-1] += done
        return cls(pieces)

    def bursts(self, limit: int) -> Iterator[Sequence[bytes]]:
        """Tell which pieces are written together when all tokens are due at once.

        :param limit: bytes of one write; a piece that is longer is written by itself.
        """
        burst: list[bytes] = []
        length = 0
        for piece in self.pieces:
            if burst and length + len(piece) > limit:
                yield burst
                burst, length = [], 0
            burst.append(piece)
            length += len(piece)
        yield burst

    def write(self, path: Path) -> None:
        """Write the file that the controls read."""
        numbers = [len(self.pieces), *map(len, self.pieces)]
        path.write_bytes("".join(f"{number}\n" for number in numbers).encode() + b"".join(self.pieces))

    @classmethod
    def read(cls, path: Path) -> "Recording":
        """Read that file."""
        data = path.read_bytes()
        count, _, data = data.partition(b"\n")
        *lengths, data = data.split(b"\n", int(count))
        pieces, at = [], 0
        for length in map(int, lengths):
            pieces.append(data[at : at + length])
            at += length
        return cls(pieces)


def exchange(port: int, request: bytes) -> bytes:
    """Send a request on a connection of its own.

    :return: the response, its head included.
    :raises ConnectionError: if the server ends the connection before it is complete.
    :raises TimeoutError: if it takes more than 20 s.
    """
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
        connection.sendall(request)
        data = b""
        while not _is_complete(data):
            piece = connection.recv(1 << 16)
            if not piece:
                raise ConnectionError(f"The server ended the connection after {data!r}.")
            data += piece
    return data


def _is_complete(response: bytes) -> bool:
    head, blank, body = response.partition(b"\r\n\r\n")
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if found:
        return bool(blank) and len(body) >= int(rest.partition(b"\r\n")[0])
    return response.endswith(b"0\r\n\r\n")
