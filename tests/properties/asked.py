"""One request as its client knows it: what it wants, and what has come back."""

from typing import Any, Final, Literal, TypeAlias

from attrs import define, field

from vllmsim.records import RequestRecord

Surface: TypeAlias = Literal[
    "chat", "completions", "responses", "messages", "generate", "pooling", "engine", "inference", "other"
]
PROBE: Final = "x-probe"
"""The header, or the metadata, that says which request it is."""


class Shown:
    """What hypothesis shows as it shows itself, in one line."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


@define(eq=False, repr=False)
class Asked(Shown):
    """One request.

    :param number: what it is called in its header.
    :param streams: whether its answer is to come in pieces.
    :param choices: how many answers it wants; None where that is not to be known.
    """

    number: int
    surface: Surface
    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(factory=dict)
    streams: bool = False
    choices: int | None = None
    status: int = 0
    answer: bytes = b""
    complete: bool = False
    """Whether the answer has come to its end."""
    over: bool = False
    """Whether the client has no hope that anything more comes."""
    left: bool = False
    """Whether it did not wait for that."""
    trailers: dict[str, str] = field(factory=dict)
    fields: dict[str, str] = field(factory=dict)
    record: RequestRecord | None = None
    """What the journal remembers of it, once that has come to its end."""

    def __repr__(self) -> str:
        """Show what was sent."""
        return f"{self.method} {self.path} {self.headers} {self.body!r}"

    @property
    def remembered(self) -> bool:
        """Whether the journal is to know it."""
        return self.surface != "other"
