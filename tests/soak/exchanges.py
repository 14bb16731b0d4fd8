"""What a client sends, where it leaves, and what has come back: the same for every protocol."""

from collections.abc import Mapping
from typing import Final, Literal

from attrs import define, field, frozen

PATIENCE: Final = 90.0
"""Seconds after which a request that has no end is one."""

Where = Literal["head", "body", "waiting", "first", "middle"]
"""Before the body is sent, in the middle of it, while nothing has come, and after one or some pieces of the answer."""


@frozen
class Leave:
    """How a client leaves before its answer is complete.

    :param after: how many seconds it waits, or how many pieces it reads.
    :param rude: whether without a word: a reset instead of the end of the connection.
    """

    where: Where
    after: float
    rude: bool


@frozen
class Call:
    """One request.

    :param id: what it is called in both books.
    :param kind: what :mod:`tests.soak.answers` reads its answer as.
    :param expected: sequences that it asks for.
    """

    id: str
    kind: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    stream: bool = False
    expected: int = 1
    leave: Leave | None = None
    method: str = "POST"

    @property
    def rpc(self) -> bool:
        """Whether it is a call over gRPC."""
        return self.headers.get("content-type") == "application/grpc"


@define
class Reply:
    """What has come back.

    :param whole: whether it came to the end that the protocol has for it.
    :param left: whether the client did not wait for that.
    :param late: whether nothing came on a connection that was used before: the server may have closed it meanwhile.
    """

    status: int = 0
    headers: dict[str, str] = field(factory=dict)
    pieces: list[bytes] = field(factory=list)
    trailers: dict[str, str] = field(factory=dict)
    whole: bool = False
    left: bool = False
    late: bool = False
    trouble: str = ""

    @property
    def body(self) -> bytes:
        """All that has come."""
        return b"".join(self.pieces)


class Left(Exception):
    """The client has read enough."""
