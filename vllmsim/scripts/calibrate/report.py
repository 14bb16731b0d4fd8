# -*- test-case-name: tests.scripts.calibrate.test_command -*-
"""What ``vllmsim calibrate`` prints, and the configuration that it writes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import asdict, frozen

from vllmsim.calibration.accuracy import Agreement
from vllmsim.calibration.fit import Fit, Simulated
from vllmsim.config.describing import written
from vllmsim.config.loading import Loaded
from vllmsim.config.names import find
from vllmsim.durations import format_duration
from vllmsim.scripts.calibrate.options import ENGINE

OPTIONS: Final = {
    "constant": "step-time-constant",
    "per_prefill_token": "step-time-per-prefill-token",
    "per_decode_sequence": "step-time-per-decode-sequence",
    "per_cached_token": "step-time-per-cached-token",
}
"""The options of the daemon for the coefficients."""
_DOUBTFUL: Final = 0.5
"""Which part of a coefficient may be its standard error."""
_DIGITS: Final = 4
_WIDTH: Final = 11


@frozen
class Report:
    """Everything about one calibration.

    :param fitted: the runs that were learned from.
    :param checked: those that were only compared.
    :param loaded: what the engine was told.
    """

    fit: Fit
    fitted: Sequence[Simulated]
    checked: Sequence[Simulated]
    loaded: Loaded

    @property
    def settings(self) -> Mapping[str, Any]:
        """What a daemon is told to be like the server that was measured, as a file would have it."""
        values: dict[str, Any] = {"scheduling-model": "step", "step-time": "linear"}
        values |= {name: _rounded(getattr(self.fit.coefficients, field)) for field, name in OPTIONS.items()}
        for name in ENGINE:
            meaning = find(name)
            assert meaning is not None
            if name in self.loaded.values:
                value = getattr(self.loaded.configuration, meaning.option.attribute)
                values[name] = written(meaning.option.kind, value)
        return values

    def yaml(self) -> str:
        """Write the settings as a configuration file, which begins with how far they are off."""
        lines = ["# Written by vllmsim calibrate. Mean absolute errors of the times of requests:"]
        for kind, runs in (("learned from", self.fitted), ("not seen", self.checked)):
            lines += [f"#   {each.run.title} ({kind}): {_errors(each.agreements)}" for each in runs]
        lines += [f"{name}: {json.dumps(value)}" for name, value in self.settings.items()]
        return "".join(f"{line}\n" for line in lines)

    def text(self) -> str:
        """Write the tables."""
        return "".join(f"{line}\n" for line in self._lines())

    def json(self) -> str:
        """Write JSON; times are in seconds, and errors parts of one."""
        value = {
            "coefficients": asdict(self.fit.coefficients),
            "standard_errors": asdict(self.fit.errors),
            "outside": self.fit.outside,
            "settings": self.settings,
            "fitted": [_value(each) for each in self.fitted],
            "checked": [_value(each) for each in self.checked],
        }
        return json.dumps(value, indent=2) + "\n"

    def _lines(self) -> Iterator[str]:
        yield f"{'':32}{'value':>12}{'standard error':>18}"
        for name, option in OPTIONS.items():
            value, error = getattr(self.fit.coefficients, name), getattr(self.fit.errors, name)
            yield f"{option:32}{_rounded(value):>12}{_rounded(error):>18}"
        for simulated, kind in ((self.fitted, "learned from"), (self.checked, "not seen")):
            for each in simulated:
                yield ""
                yield from _compared(each, kind)
        yield ""
        yield from self._notes()

    def _notes(self) -> Iterator[str]:
        engine = ", ".join(f"{name} {value}" for name, value in self.settings.items() if name in ENGINE)
        yield f"The engine had {engine}."
        if self.fit.outside:
            yield (
                f"A request spends {_rounded(self.fit.outside)} outside of the engine, on its way there and back."
                " That is in the simulated times, and in no option: a daemon takes its own time."
            )
        doubtful = [OPTIONS[name] for name in OPTIONS if _is_doubtful(self.fit, name)]
        if doubtful:
            yield (
                f"These runs hardly tell {', '.join(doubtful)}. Measure with other lengths, and other numbers of"
                " requests at a time, and give all reports together."
            )


def _is_doubtful(fit: Fit, name: str) -> bool:
    value: float = getattr(fit.coefficients, name)
    error: float = getattr(fit.errors, name)
    return not value or error > _DOUBTFUL * value


def _compared(simulated: Simulated, kind: str) -> Iterator[str]:
    run, played = simulated.run, simulated.played
    left_out = f", {run.failed} left out" if run.failed else ""
    preempted = f", {played.preemptions} preemptions" if played.preemptions else ""
    yield (
        f"{run.title} ({kind}): {len(run.requests)} requests{left_out}, at most {run.concurrency} at a time,"
        f" {len(played.steps)} steps{preempted}"
    )
    columns = ("mean", "p50", "p99")
    heading = "".join(f"{column:>{_WIDTH}}" for column in columns)
    yield f"{'':6}{'measured':>{_WIDTH * 3}}{'simulated':>{_WIDTH * 3}}"
    yield f"{'ms':6}{heading}{heading}{'MAPE':>9}"
    for each in simulated.agreements:
        values = [getattr(spread, column) * 1000 for spread in (each.measured, each.simulated) for column in columns]
        yield f"{each.name:6}" + "".join(f"{value:{_WIDTH}.2f}" for value in values) + f"{each.mape:9.2%}"


def _errors(agreements: Sequence[Agreement]) -> str:
    return ", ".join(f"{each.name} {each.mape:.2%}" for each in agreements)


def _value(simulated: Simulated) -> dict[str, Any]:
    run = simulated.run
    return {
        "title": run.title,
        "requests": len(run.requests),
        "left_out": run.failed,
        "most_at_a_time": run.concurrency,
        "steps": len(simulated.played.steps),
        "preemptions": simulated.played.preemptions,
        "times": {each.name.lower(): asdict(each) for each in simulated.agreements},
    }


def _rounded(seconds: float) -> str:
    """Write a duration with a few digits: more are not known."""
    return format_duration(float(f"{seconds:.{_DIGITS}g}"))
