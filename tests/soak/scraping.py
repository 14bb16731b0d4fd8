"""Scrapes a server as Prometheus does, and holds each page against the one before."""

import asyncio
import ssl
from typing import Any, Final

from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families

from tests.soak.asker import Asker, Refused

Page = dict[tuple[str, tuple[tuple[str, str], ...]], float]
_MAY_GO: Final = (
    "vllm:lora_requests_info",
    "vllmsim:injected_failures_total",
    "vllmsim:injected_failures_created",
)
"""Series of adapters that are in use together, and of rules; both come and go with what they tell of."""


def parse(text: str) -> tuple[Page, set[str]]:
    """Read a page.

    :return: all samples, and the names of those that may only grow.
    """
    page: Page = {}
    growing = set[str]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            if key in page:
                raise ValueError(f"{key} is there twice")
            page[key] = sample.value
            if sample.name.endswith(("_total", "_count", "_bucket", "_sum")) and family.type != "gauge":
                growing.add(sample.name)
    return page, growing


@define(eq=False)
class Scraper:
    """Asks for the metrics, and finds what cannot be."""

    port: int
    tls: ssl.SSLContext | None = None
    pages: int = field(init=False, default=0)
    series: list[int] = field(init=False, factory=list)
    troubles: list[str] = field(init=False, factory=list)
    page: Page = field(init=False, factory=dict)
    _asker: Asker = field(init=False)

    @_asker.default
    def _make_asker(self) -> Asker:
        return Asker(self.port, self.tls)

    async def run(self, stop: asyncio.Event, interval: float = 1.0) -> None:
        """Scrape until it is over."""
        while not stop.is_set():
            try:
                await self.scrape()
            except (Refused, ValueError) as error:
                self.troubles.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(interval)

    async def scrape(self) -> Page:
        """Scrape once."""
        text = (await self._asker.fetch("/metrics")).decode()
        page, growing = await asyncio.to_thread(parse, text)
        for key, value in page.items():
            if value < 0:
                self.troubles.append(f"{key} is {value}")
            if key[0] in growing and key[0] not in _MAY_GO and value < self.page.get(key, 0):
                self.troubles.append(f"{key} falls from {self.page[key]} to {value}")
        gone = self.page.keys() - page.keys()
        self.troubles += [f"{key} is gone" for key in gone if self.page[key] and key[0] not in _MAY_GO]
        self.page = page
        self.pages += 1
        self.series.append(len(page))
        return page

    def close(self) -> None:
        """Scrape no more."""
        self._asker.close()

    def total(self, name: str, **labels: str) -> float:
        """Add up samples of the last page."""
        wanted = set(labels.items())
        return sum(value for (each, have), value in self.page.items() if each == name and wanted <= set(have))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Add up samples of the last page by one of their labels."""
        found: dict[str, float] = {}
        for (each, have), value in self.page.items():
            if each == name:
                key: Any = dict(have)[label]
                found[key] = found.get(key, 0.0) + value
        return found
