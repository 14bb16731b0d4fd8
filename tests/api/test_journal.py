"""Filters of the journal."""

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import request_for
from vllmsim.api.journal import read_listing
from vllmsim.api.records import headers_of
from vllmsim.errors import MalformedRequest, QueueFull
from vllmsim.records import HttpFacts, RequestRecord


def record(number: int, route: str, model: str, asked: str | None, *, stream: bool, status: int) -> RequestRecord:
    """Make a request."""
    headers = {b"x-tenant": b"t%d" % number, b"authorization": b"Bearer sk-%d" % number}
    made = RequestRecord(route, number, 0, "m", 1000.0 + number, 0.0, HttpFacts("POST", route, headers, status=status))
    made.generates(request_for("a"), stream=stream)
    made.asks(asked, model, f"cmpl-{number}x", f"{number}x")
    return made


class FilterTests(SynchronousTestCase):
    """Which requests are shown."""

    def setUp(self) -> None:
        """Make three requests: one that was answered, one refused, one that runs."""
        self.records = [
            record(1, "/v1/completions", "m", "alias", stream=True, status=200),
            record(2, "/v1/chat/completions", "lora", "lora", stream=False, status=429),
            record(3, "/v1/completions", "m", None, stream=False, status=0),
        ]
        self.records[0].ends(1.0)
        self.records[1].fails(QueueFull("x"))
        assert self.records[1].http is not None
        self.records[1].http.grpc_status = "RESOURCE_EXHAUSTED"
        self.records[1].ends(1.0)
        self.records[2].sequence_queued(1.0)
        self.records[2].sequence_started(1.0, 0)

    def passing(self, **filters: Any) -> list[int]:
        """List the requests that pass."""
        given = {name: value if isinstance(value, list) else [value] for name, value in filters.items()}
        listing = read_listing(given)
        return [each.number for each in self.records if listing.wanted(each)]

    def test_each(self) -> None:
        """Each filter lets pass what fits it, and any of its values if there are several."""
        secret = dict(headers_of(self.records[0].http))["authorization"]  # type: ignore[arg-type]
        cases: tuple[tuple[dict[str, str | Sequence[str]], list[int]], ...] = (
            ({}, [1, 2, 3]),
            ({"id": "2x"}, [2]), ({"id": ["cmpl-1x-0", "cmpl-3x"]}, [1, 3]), ({"id": "x"}, []),
            ({"model": "m"}, [1, 3]), ({"model": "alias"}, [1]), ({"model": ["lora", "alias"]}, [1, 2]),
            ({"adapter": "lora"}, [2]), ({"adapter": ""}, [1, 3]),
            ({"route": "/v1/completions"}, [1, 3]),
            ({"outcome": "completed"}, [1]), ({"outcome": ["refused", "completed"]}, [1, 2]),
            ({"state": "running"}, [3]), ({"state": "done"}, [1, 2]),
            ({"status": "429"}, [2]), ({"status": "2xx"}, [1]), ({"status": ["2xx", "429"]}, [1, 2]),
            ({"grpc_status": "RESOURCE_EXHAUSTED"}, [2]), ({"grpc_status": ["OK", ""]}, []),
            ({"stream": "true"}, [1]), ({"stream": "0"}, [2, 3]),
            ({"after": "1"}, [2, 3]), ({"since": "1002"}, [2, 3]),
            ({"header": "X-Tenant: t2"}, [2]), ({"header": "x-tenant"}, [1, 2, 3]), ({"header": "x-other"}, []),
            ({"header": ["x-tenant:t2", "x-tenant:t1"]}, []),
            ({"header": "authorization:Bearer sk-1"}, []), ({"header": f"authorization:{secret}"}, [1]),
            ({"route": "/v1/completions", "stream": "false"}, [3]),
        )  # fmt: skip
        for filters, expected in cases:
            self.assertEqual(expected, self.passing(**filters), filters)

    def test_other_protocols(self) -> None:
        """Filters of HTTP let nothing pass that did not come over it."""
        self.records = [RequestRecord("Generate", 1)]
        self.assertEqual(
            [[]] * 3, [self.passing(status="2xx"), self.passing(header="x"), self.passing(grpc_status="OK")]
        )

    def test_order(self) -> None:
        """All requests are shown, the newest last, unless something else is asked for."""
        listing = read_listing({})
        usual = (None, False, False, None, 10.0)
        shown = (listing.limit, listing.newest_first, listing.bodies, listing.wait_for, listing.timeout)
        self.assertEqual(usual, shown)
        listing = read_listing(
            {"limit": ["5"], "order": ["desc"], "bodies": ["1"], "wait_for": ["3"], "timeout": ["0.5"]}
        )
        shown = (listing.limit, listing.newest_first, listing.bodies, listing.wait_for, listing.timeout)
        self.assertEqual((5, True, True, 3, 0.5), shown)

    def test_unknown(self) -> None:
        """An unknown filter is refused with the names of those that there are."""
        error = self.assertRaises(MalformedRequest, read_listing, {"statis": ["200"]})
        self.assertTrue(error.message.startswith("There is no filter 'statis'; there are id, model, adapter, "))

    def test_wrong(self) -> None:
        """A wrong value is refused by name, and so are too many."""
        cases: tuple[tuple[str, list[str]], ...] = (
            ("outcome", ["lost"]), ("state", ["gone"]), ("status", ["20"]), ("status", ["6xx"]), ("stream", ["maybe"]),
            ("after", ["x"]), ("since", ["x"]), ("limit", ["-1"]), ("order", ["up"]), ("wait_for", ["0"]),
            ("wait_for", ["10001"]), ("timeout", ["0"]), ("timeout", ["601"]), ("timeout", ["nan"]),
            ("id", ["x"] * 17), ("header", ["x"] * 17), ("bodies", ["x"]),
        )  # fmt: skip
        for name, values in cases:
            error = self.assertRaises(MalformedRequest, read_listing, {name: values})
            self.assertIn(f"query.{name}", error.message)
