"""A page of metrics as a scraper reads it."""

import re
from typing import Final

from attrs import define

_SAMPLE: Final = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@define(eq=False)
class Figures:
    """The samples of a page.

    :param samples: each with its name, its labels and its value.
    """

    samples: list[tuple[str, dict[str, str], float]]

    @classmethod
    def read(cls, page: str) -> "Figures":
        """Read a page."""
        lines = [line for line in page.splitlines() if line and not line.startswith("#")]
        found = [match for line in lines if (match := _SAMPLE.fullmatch(line))]
        assert len(found) == len(lines), page
        return cls([(match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])) for match in found])

    def total(self, name: str, **labels: str) -> float:
        """Add all samples of a name that have some labels; names begin with vLLM's prefix unless they say another."""
        full = name if ":" in name or name.startswith("http") else f"vllm:{name}"
        return sum(self.values(full, **labels))

    def values(self, name: str, **labels: str) -> list[float]:
        """List them."""
        wanted = labels.items()
        return [value for each, known, value in self.samples if each == name and wanted <= known.items()]

    def latest(self, name: str, **labels: str) -> dict[str, str]:
        """Find the labels of the sample with the greatest value; none if there is no sample."""
        wanted = labels.items()
        found = [(value, known) for each, known, value in self.samples if each == name and wanted <= known.items()]
        return max(found, key=lambda each: each[0])[1] if found else {}
