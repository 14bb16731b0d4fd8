"""What stands between clients and routes, as the configuration asks for it."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.assembly.access import Access
from vllmsim.config.middlewares import MiddlewareEntry
from vllmsim.config.schema import Configuration
from vllmsim.config.tenants import RateLimit, Tenant
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
        access = Access(Accounts(), Clock(), lambda: 0.0)
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
