"""What stands between clients and routes, as the configuration asks for it."""

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.dropins import drop_in
from tests.fakes import in_thread
from tests.harness import RankTestCase
from vllmsim.assembly.access import Access
from vllmsim.config.middlewares import MiddlewareEntry
from vllmsim.config.schema import Configuration
from vllmsim.config.tenants import RateLimit, Tenant
from vllmsim.randomness import Randomness
from vllmsim.web.middleware.accesslog import AccessLog
from vllmsim.web.middleware.accounts import Accounts
from vllmsim.web.middleware.apikeys import ApiKeys
from vllmsim.web.middleware.cors import Cors
from vllmsim.web.middleware.ratelimits import RateLimits
from vllmsim.web.middleware.requestids import RequestIds

EVERYTHING = {
    "enable_request_id_headers": True,
    "api_key": ("k",),
    "access_log": True,
    "rate_limit": RateLimit(1),
}


class ChainTests(SynchronousTestCase):
    """Who is there."""

    def kinds(self, **options: Any) -> list[type]:
        """List what the chain is made of."""
        access = Access(0, Accounts, Clock(), lambda: 0.0, in_thread, Randomness(7))
        return [type(member) for member in access.chain(Configuration(**options)).members]

    def test_default(self) -> None:
        """What would have nothing to do is not there."""
        self.assertEqual([Cors], self.kinds())
        self.assertEqual([Cors], self.kinds(tenants=(), access_log=True, disable_uvicorn_access_log=True))
        self.assertEqual([ApiKeys, Cors], self.kinds(tenants=(Tenant("a", ("k",)),)))

    def test_order(self) -> None:
        """The order is vLLM's, with logs outside and limits inside."""
        self.assertEqual([AccessLog, RequestIds, ApiKeys, Cors, RateLimits], self.kinds(**EVERYTHING))

    def test_named(self) -> None:
        """What is named comes first, in that order, and the rest follows as usual."""
        named = (MiddlewareEntry("rate-limit"), MiddlewareEntry("cors"), MiddlewareEntry("log-http"))
        self.assertEqual([RateLimits, Cors, AccessLog, RequestIds, ApiKeys], self.kinds(**EVERYTHING, middleware=named))

    def test_switched_off(self) -> None:
        """What is switched off is not there, though its options are."""
        named = tuple(MiddlewareEntry(name, enabled=False) for name in ("api-key", "cors", "access-log"))
        self.assertEqual([RequestIds, RateLimits], self.kinds(**EVERYTHING, middleware=named))


QUOTA = """
from vllmsim.errors import PermissionDenied

@implementer(IMiddleware)
@define(eq=False)
class Quota:
    left: int
    ended: list = field(factory=list)

    def begin(self, exchange):
        exchange.setHeader(b"x-left", b"%d" % self.left)
        self.left -= 1
        if self.left < 0:
            raise PermissionDenied("No more.")

    def end(self, exchange):
        self.ended.append(exchange.status)

def create(surroundings):
    limit = surroundings.options.get("limit", 1)
    if not isinstance(limit, int):
        raise ValueError("limit must be a number")
    return Quota(limit)

quota = offer(IMiddlewareFactory, "quota", create)
"""


class PluginTests(RankTestCase):
    """Middlewares of plugins."""

    def setUp(self) -> None:
        """Have one that lets so many requests in."""
        drop_in(self, quotas=QUOTA)

    def statuses(self, count: int) -> list[int]:
        """Send requests."""
        return [self.get("/v1/models").status for _ in range(count)]

    def change(self, *entries: Any) -> Any:
        """Change the option while the server runs."""
        return self.connect().send("POST", "/admin/config", json.dumps({"middleware": list(entries)}).encode())

    def test_refuses(self) -> None:
        """It stands outside of ours, and refuses in the words of the route."""
        self.make_rank("--middleware", '{"name":"quota","limit":2}', "--enable-request-id-headers")
        self.assertEqual([200, 200, 403], self.statuses(3))
        refused = self.get("/v1/models")
        self.assertEqual("-1", refused.headers["x-left"])
        self.assertEqual(set(), {"x-request-id", "vary"} & refused.headers.keys())
        self.assertEqual("No more.", refused.json()["error"]["message"])

    def test_live(self) -> None:
        """It stays as it is while its options do, and is made anew when they change; another goes before it."""
        self.make_rank("--middleware", '{"name":"quota","limit":5}')
        self.statuses(2)
        self.assertEqual(200, self.change({"name": "quota", "limit": 5}, "cors").status)
        self.assertEqual("2", self.get("/health").headers["x-left"])
        self.assertEqual(200, self.change("cors", {"name": "quota", "limit": 9}).status)
        self.assertEqual(("9", "Origin"), ((e := self.get("/health")).headers["x-left"], e.headers["vary"]))
        self.assertEqual(200, self.change({"name": "quota", "limit": 9, "enabled": False}).status)
        self.assertNotIn("x-left", self.get("/health").headers)

    def test_wrong(self) -> None:
        """A change to one that is not there, or does not like its options, is refused, and nothing changes."""
        self.make_rank()
        unknown = self.change("quoter")
        self.assertEqual(400, unknown.status)
        self.assertIn(
            "there is no middleware 'quoter'; there are access-log, log-http, request-id, api-key, cors, rate-limit,"
            " quota; did you mean quota?",
            unknown.json()["error"]["message"],
        )
        wrong = self.change({"name": "quota", "limit": "many"})
        self.assertEqual(400, wrong.status)
        self.assertIn("the middleware quota says: limit must be a number", wrong.json()["error"]["message"])
        self.assertIn("is no option of it", self.change({"name": "quota", "limt": 3}).json()["error"]["message"])
        self.assertEqual([200] * 3, self.statuses(3))

    def test_change_of_mind(self) -> None:
        """One that could be made when a change was tried, and cannot be made then, leaves the chain as it was."""
        fickle = """
        made = []

        @implementer(IMiddleware)
        class Calm:
            def begin(self, exchange):
                pass

            def end(self, exchange):
                pass

        def once(surroundings):
            made.append(None)
            if len(made) > 1:
                raise ValueError("once is enough")
            return Calm()

        fickle = offer(IMiddlewareFactory, "fickle", once)
        """
        drop_in(self, fickles=fickle)
        self.make_rank("--middleware", '{"name":"quota","limit":5}')
        with capturedLogs() as events:
            self.assertEqual(200, (changed := self.change("fickle")).status, changed.body)
        told = [formatEvent(event) for event in events if event["log_level"] is LogLevel.error]
        self.assertEqual(1, len(told))
        self.assertIn("once is enough; the chain stays as it was.", told[0])
        self.assertEqual("4", self.get("/health").headers["x-left"])

    def test_start(self) -> None:
        """One that cannot be had stops the start."""
        with self.assertRaises(SystemExit) as raised:
            self.make_rank("--middleware", '{"name":"quota","limit":"many"}')
        self.assertIn("cannot start: middleware: the middleware quota says: limit", str(raised.exception))

    def test_ranks(self) -> None:
        """Each rank has one of its own."""
        ranks = self.make_ranks("--middleware", '{"name":"quota","limit":1}', "--data-parallel-size", "2")
        statuses = []
        for rank in (*ranks, *ranks):
            self.rank = rank
            statuses += self.statuses(1)
        self.assertEqual([200, 200, 403, 403], statuses)
