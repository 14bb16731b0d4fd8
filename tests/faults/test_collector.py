"""A collector of traces that does not do as it should, in every way that there is."""

import os
import ssl
import time
from collections.abc import Mapping
from unittest import skipUnless
from unittest.mock import patch

from tests.faults.case import FaultTestCase, figure
from tests.faults.clients import FULL
from tests.faults.neighbour import (
    Behaviour,
    Neighbour,
    answering,
    closing,
    deaf,
    dripping,
    endless,
    garbage,
    refusing,
    silent,
    truncating,
)
from tests.integration.daemon import Daemon

SETTINGS = {
    "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
}  # fmt: skip
"""Has spans sent soon, and few of them wait."""
QUICK = 12.0
"""Seconds in which a daemon stops whose collector does not answer, on a busy machine. It waits for two."""
FAULTS: Mapping[str, Behaviour] = {
    "garbage": garbage,
    "silent": silent,
    "endless": endless,
    "closing": closing,
    "500": refusing,
    "503": answering("503 Service Unavailable", b"", "Retry-After: 100000"),
    "truncated": truncating,
    "slow": dripping,
    "deaf": deaf,
    "long": answering("400 Bad Request", b"x" * 1_000_000),
    "301": answering("301 Moved Permanently", b"", "Location: file:///etc/passwd"),
}
"""What it does; those that come first are tried where there is no time for all."""
SOME = 3
COUNT = 2000 if FULL else 150
"""Requests for each: more than may wait."""


class CollectorTests(FaultTestCase):
    """Daemons whose collectors behave in many ways, one after the other."""

    def setUp(self) -> None:
        """Not have spans sent as the environment of who runs this has it."""
        others = {name: "" for name in os.environ if name.startswith("OTEL_")}
        self.enterContext(patch.dict(os.environ, {**others, **SETTINGS}))

    def stand(self, name: str, endpoint: str, neighbour: Neighbour, faults: Mapping[str, Behaviour]) -> Daemon:
        """Hold that a daemon goes on while its collector has faults.

        :param name: what that is.
        """
        started = time.monotonic()
        daemon = self.start("--otlp-traces-endpoint", endpoint)
        daemon.wait()
        self.served(daemon, COUNT)
        resident = daemon.resident()
        for fault in faults.values():
            neighbour.become(fault)
            self.served(daemon, COUNT)
        growth = daemon.resident() - resident
        self.assertLess(growth, 48 << 10)
        begin = time.monotonic()
        output = self.ended(daemon)
        stopped = time.monotonic() - begin
        self.assertLess(stopped, QUICK)
        lines = output.count(".Trouble#warn]")
        # One for each fault, or one a minute where it lasts, one when it is over, and what is lost at the end.
        self.assertLess(lines, 4 + 2 * len(faults) + (time.monotonic() - started) / 60)
        self.assertGreater(lines, 0)
        asked = COUNT * (len(faults) + 1)
        figure(
            f"collector ({name}) with {len(faults)} faults: {asked} of {asked} requests served,"
            f" resident {growth:+} KiB, {lines} lines logged, stopped in {stopped:.1f} s"
        )
        return daemon

    def neighbour(self, secure: ssl.SSLContext | None = None) -> Neighbour:
        """Have a collector."""
        made = Neighbour(silent, secure)
        self.addCleanup(made.close)
        return made

    def test_http(self) -> None:
        """Whatever it does over HTTP, requests are answered, memory stays, little is logged, and the end is near."""
        neighbour = self.neighbour()
        faults = dict(list(FAULTS.items())[: None if FULL else SOME])
        self.stand("HTTP", f"http://127.0.0.1:{neighbour.port}/v1/traces", neighbour, faults)

    def test_grpc(self) -> None:
        """So it is over gRPC."""
        neighbour = self.neighbour()
        names = ("garbage", "silent", "closing", "deaf", "500") if FULL else ("garbage", "silent")
        with patch.dict(os.environ, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}):
            self.stand("gRPC", f"http://127.0.0.1:{neighbour.port}", neighbour, {name: FAULTS[name] for name in names})

    @skipUnless(FULL, "needs long for what the others try too")
    def test_tls(self) -> None:
        """So it is where the collector does not speak TLS though it should."""
        neighbour = self.neighbour()
        faults = {"garbage": garbage, "500": refusing}
        self.stand("TLS", f"https://127.0.0.1:{neighbour.port}/v1/traces", neighbour, faults)
