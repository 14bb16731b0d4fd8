# -*- test-case-name: tests.bench.test_saturation -*-
"""The most tokens that one core sends in time, in a second.

A server sustains a number of streams when at least 97 % of what they ask for comes in the window, and half of the
tokens are less late than half a gap. The number is searched for: up until a server does not sustain it, and then
between what it does and what it does not. The servers take their steps in turn.
"""

import contextlib
from typing import Final

from attrs import define, field

from bench.paced import ITL, Paced, run, waves
from bench.plan import Plan, Result
from bench.servers import Server, floor, record, vllmsim

_DELIVERED: Final = 0.97
_MOST: Final = 4000
"""Streams that vllmsim has room for, and some more."""
_FIRST: Final = 600
_STEPS: Final = 7
_CLOSE: Final = 1.07
_STEP_UP: Final = 2
_BUSY: Final = 0.95
_WINDOW: Final = 35
"""Tokens of each stream that count."""


def is_sustained(paced: Paced) -> bool:
    """Tell whether a server had time for all of a run's tokens."""
    asked = paced.streams / ITL
    in_time = paced.lateness.p50 < ITL * 1e3 / 2
    return in_time and paced.window.tokens_per_second >= _DELIVERED * asked


def _try(server: Server, streams: int) -> Paced:
    """Run streams, and once more if they are too many: something else may have wanted the core."""
    paced = run(server, streams, waves(streams) + _WINDOW)
    return paced if is_sustained(paced) else run(server, streams, waves(streams) + _WINDOW)


@define(eq=False)
class Search:
    """Looks for the most streams that are sustained.

    :param streams: how many are tried next.
    """

    streams: int = _FIRST
    best: Paced | None = field(init=False, default=None)
    """The run with the most streams that was sustained."""
    _refused: int | None = field(init=False, default=None)
    _steps: int = field(init=False, default=0)

    @property
    def is_over(self) -> bool:
        """Whether the next try would tell little."""
        if self._steps == _STEPS:
            return True
        if self.best is None:
            return False
        return self.best.streams >= _MOST or (self._refused or _MOST * 2) <= self.best.streams * _CLOSE

    def learn(self, paced: Paced) -> None:
        """Take a run into account, and choose the next number."""
        self._steps += 1
        if is_sustained(paced):
            self.best = paced
        else:
            self._refused = paced.streams
        kept = self.best.streams if self.best else 0
        if self._refused is None:
            guess = _BUSY * 1e6 / paced.window.cpu_per_token * ITL
            self.streams = min(_MOST, round(max(kept * 1.1, min(kept * _STEP_UP, guess))))
        else:
            self.streams = (kept + self._refused) // 2


def measure(plan: Plan) -> Result:
    """Search for vllmsim's number, and for the floor's."""
    rows: list[list[str]] = []
    rates: dict[str, float] = {}
    with contextlib.ExitStack() as opened:
        servers: list[Server] = [opened.enter_context(vllmsim(plan.cores.server, ITL * 1e3))]
        if plan.controls:
            script = record(servers[0], ITL * 1e3)
            servers.append(opened.enter_context(floor(plan.cores.server, script)))
        searches = {server.name: Search() for server in servers}
        while not all(search.is_over for search in searches.values()):
            for server in servers:
                search = searches[server.name]
                if search.is_over:
                    continue
                paced = _try(server, search.streams)
                search.learn(paced)
                verdict = "sustained" if search.best is paced else "too many"
                plan.say(
                    f"{paced.streams:9} {server.name:>9} {paced.window.tokens_per_second:8.0f} a second: {verdict}"
                )
    for name, search in searches.items():
        best = search.best
        rates[name] = best.window.tokens_per_second if best else 0.0
        last = [f"{best.lateness.p50:.2f}", f"{best.window.client_share:.0%}"] if best else ["", ""]
        share = f"{rates[name] / rates['floor']:.2f}" if rates.get("floor") else ""
        rows.append([name, str(best.streams if best else 0), f"{rates[name]:.0f}", share, *last])
    figures = {"saturation": rates["vllmsim"] / rates["floor"]} if rates.get("floor") else {}
    header = ("server", "streams", "tokens/s", "/ floor", "p50", "client")
    return Result("The most tokens in time, at one in 20 ms for each stream", header, rows, figures)
