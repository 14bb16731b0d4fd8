# -*- test-case-name: tests.bench.test_report -*-
"""What the figures should be, whether they are, and the page that says so."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from attrs import frozen

from bench.plan import Result

_INTRODUCTION: Final = """\
# What vllmsim costs

Written by `make bench`, which says how each figure is come by in the modules of `bench/`. The floor is an epoll server
in C that sends the same bytes and does nothing else: it wakes at most once in half a millisecond, as vllmsim does, so
that a ratio to it is of what a token costs; the eager floor wakes for each token. Bare Twisted is a Protocol that
writes the same bytes. All run on the server's core, in turns with vllmsim, so that the ratios say the same on another
machine. What is asked for over gRPC is measured against the same over HTTP/1.1, from one server in turns.
"""


@frozen
class Bar:
    """What a figure should be.

    :param what: what is measured, in words.
    :param bar: the figure that must be met.
    :param stretch: the figure that would be fine.
    :param layout: how one is written; a format with one place.
    :param scale: what figures are multiplied by to be written.
    :param at_least: whether more is better.
    """

    what: str
    bar: float
    stretch: float
    layout: str
    scale: float = 1
    at_least: bool = False

    def is_met(self, figure: float, goal: float) -> bool:
        """Tell whether a figure is as good as a goal."""
        return figure >= goal if self.at_least else figure <= goal

    def write(self, figure: float) -> str:
        """Write a figure with its unit."""
        return self.layout.format(figure * self.scale)

    def verdict(self, figure: float) -> str:
        """Say how good a figure is."""
        if self.is_met(figure, self.stretch):
            return "met, and the stretch too"
        return "met" if self.is_met(figure, self.bar) else "**not met**"


BARS: Final[Mapping[str, Bar]] = {
    "cpu": Bar("CPU per token, 500 streams at 20 ms, against the floor", 1.25, 1.05, "{:.2f}x"),
    "cpu-eager": Bar("the same, against a floor that wakes for each token", 1.25, 1.05, "{:.2f}x"),
    "lateness": Bar("p99 lateness at 500 streams, against the floor", 1.5, 0.7, "{:+.2f} ms"),
    "drift": Bar("drift after 300 tokens (p50 lateness)", 1, 0.5, "{:.2f} ms"),
    "saturation": Bar("most paced tokens/s on one core, against the floor", 0.5, 0.65, "{:.2f}x", at_least=True),
    "burst": Bar("zero-latency streaming, against bare Twisted", 0.35, 0.7, "{:.1f} %", 100, at_least=True),
    "whole": Bar("non-streaming requests/s, against bare Twisted", 0.25, 1, "{:.1f} %", 100, at_least=True),
    "ranks": Bar("two rank processes, against one", 1.7, 1.9, "{:.2f}x", at_least=True),
    "memory": Bar("memory of an active stream", 16, 6, "{:.1f} KB"),
    "startup": Bar("start to the first 200 on /health", 700, 450, "{:.0f} ms"),
    "metrics": Bar("/metrics stall of a rank", 1, 0.2, "{:.2f} ms"),
    "prompt": Bar("4 MiB prompt, longest reactor stall", 20, 5, "{:.1f} ms"),
    "prefix": Bar("32k-token prompt with 2,000 cached blocks, longest reactor stall", 2, 1, "{:.2f} ms"),
    "step": Bar("CPU of a step over 256 running sequences, beside their tokens", 2, 0.5, "{:.2f} ms"),
    "events-rate": Bar("KV events published beside 500 streams", 5000, 6000, "{:.0f} /s", at_least=True),
    "events-lateness": Bar("least p99 lateness with them, against without", 1.1, 1.02, "{:.2f}x"),
    "grpc-cpu": Bar("CPU per token over gRPC, 500 streams on one connection, against HTTP/1.1", 1, 0.6, "{:.2f}x"),
    "grpc-lateness": Bar("p99 lateness of these, against HTTP/1.1", 0.5, 0.1, "{:+.2f} ms"),
    "grpc-burst": Bar("zero-latency streaming over gRPC, against HTTP/1.1", 0.5, 0.75, "{:.0f} %", 100, at_least=True),
    "grpc-call": Bar("CPU of a short answer over gRPC, against HTTP/1.1", 2, 1.5, "{:.2f}x"),
    "dataset-start": Bar("start with a dataset of 100,000 conversations", 2, 0.7, "{:.2f} s"),
    "dataset-rate": Bar("lookups in it, beside 100 streams", 1990, 1999, "{:.0f} /s", at_least=True),
    "dataset-p99": Bar("of these, p99", 5, 3, "{:.2f} ms"),
    "dataset-stall": Bar("how long they hold the reactor", 2, 1, "{:.2f} ms"),
}


def summary(figures: Mapping[str, float]) -> Result:
    """Hold figures against their bars.

    :param figures: by the name of their bar; those that are missing were not measured.
    """
    rows = [
        [
            bar.what,
            f"{'>=' if bar.at_least else '<='} {bar.write(bar.bar)}",
            bar.write(bar.stretch),
            bar.write(figures[name]),
            bar.verdict(figures[name]),
        ]
        for name, bar in BARS.items()
        if name in figures
    ]
    return Result("Bars", ("what", "bar", "stretch", "figure", "verdict"), rows, figures)


def page(machine: Mapping[str, str], results: Sequence[Result], day: date) -> str:
    """Write everything as a page of Markdown."""
    figures = {name: figure for result in results for name, figure in result.figures.items()}
    facts = "\n".join(f"- {name}: {fact}" for name, fact in machine.items())
    sections = [f"## {result.title}\n\n{result.table()}\n" for result in (summary(figures), *results)]
    return "\n".join([_INTRODUCTION, f"Measured on {day.isoformat()}:\n\n{facts}\n", *sections])
