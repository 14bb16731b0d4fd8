# -*- test-case-name: tests.bench.test_plan -*-
"""What a measurement is given, and what it gives back."""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from bench.machine import Cores


@frozen
class Plan:
    """How to measure.

    :param cores: who runs where.
    :param say: tells whoever waits what goes on.
    :param streams: numbers of streams or connections to try, or None for the usual ones.
    :param tokens: of a stream, or None for the usual number.
    :param rounds: how often each server has its turn, or None for the usual number.
    :param seconds: of a turn in which connections are kept busy, or None for the usual time.
    :param controls: whether the controls run too.
    """

    cores: Cores
    say: Callable[[str], None] = print
    streams: Sequence[int] | None = None
    tokens: int | None = None
    rounds: int | None = None
    seconds: float | None = None
    controls: bool = True


@frozen
class Result:
    """What was found.

    :param title: of the table.
    :param header: names of the columns.
    :param rows: their values.
    :param figures: those that a bar is set for, by its name.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Mapping[str, float]

    def table(self) -> str:
        """Write it as a table of Markdown, which reads well as it is."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [
            "| " + " | ".join(self._cell(text, width, index) for index, (text, width) in enumerate(cells)) + " |"
            for cells in (list(zip(row, widths, strict=True)) for row in (self.header, *self.rows))
        ]
        rule = (
            "|" + "|".join("-" * (width + 1) + ("-" if index == 0 else ":") for index, width in enumerate(widths)) + "|"
        )
        return "\n".join([lines[0], rule, *lines[1:]])

    @staticmethod
    def _cell(text: str, width: int, index: int) -> str:
        return text.rjust(width) if index else text.ljust(width)
