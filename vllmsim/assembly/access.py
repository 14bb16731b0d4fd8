# -*- test-case-name: tests.assembly.test_access -*-
"""What stands between clients and the routes of a rank, as the configuration asks."""

from collections.abc import Callable, Mapping
from typing import Final

from attrs import define
from twisted.internet.interfaces import IReactorTime

from vllmsim.config.middlewares import OURS
from vllmsim.config.schema import Configuration
from vllmsim.config.tenants import RateLimit
from vllmsim.interfaces import IMiddleware
from vllmsim.web.middleware.accesslog import AccessLog
from vllmsim.web.middleware.accounts import Accounts
from vllmsim.web.middleware.apikeys import ApiKeys
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.middleware.cors import Cors
from vllmsim.web.middleware.ratelimits import Allowance, RateLimits
from vllmsim.web.middleware.requestids import RequestIds


@define(eq=False)
class Access:
    """Makes the chain of a rank.

    :param accounts: what has been used of rate limits by the clients of this process.
    :param epoch: tells seconds since the epoch.
    """

    _accounts: Accounts
    _clock: IReactorTime
    _epoch: Callable[[], float]

    def chain(self, c: Configuration) -> Chain:
        """Put the chain together: what the option names in its order, then the rest of ours in theirs."""
        named = {entry.name: entry for entry in c.middleware}
        usual = [name for name in OURS if name not in named]
        names = [*(name for name, entry in named.items() if entry.enabled), *usual]
        members = [_MAKERS[name](self, c) for name in names if name in _MAKERS]
        return Chain([member for member in members if member is not None])

    def _access_log(self, c: Configuration) -> IMiddleware | None:
        if not c.access_log or c.disable_uvicorn_access_log:
            return None
        paths = (c.disable_access_log_for_endpoints or "").split(",")
        return AccessLog(self._clock, frozenset(path.strip().encode() for path in paths if path.strip()))

    def _request_ids(self, c: Configuration) -> IMiddleware | None:
        return RequestIds() if c.enable_request_id_headers else None

    def _api_keys(self, c: Configuration) -> IMiddleware | None:
        open_keys = (*c.api_key, *(c.api_key_file.keys if c.api_key_file else ()))
        keys: dict[str, str | None] = dict.fromkeys(open_keys)
        keys |= {key: tenant.name for tenant in c.tenants for key in tenant.keys}
        return ApiKeys(keys.items()) if keys else None

    def _cors(self, c: Configuration) -> IMiddleware:
        return Cors(c.allowed_origins, c.allowed_methods, c.allowed_headers, c.allow_credentials)

    def _rate_limits(self, c: Configuration) -> IMiddleware | None:
        limits: dict[str | None, RateLimit | None] = {tenant.name: tenant.limit for tenant in c.tenants}
        limits[None] = c.rate_limit
        allowances = {
            name: Allowance(limit.requests, limit.tokens, limit.burst)
            for name, limit in limits.items()
            if limit is not None
        }
        return RateLimits(allowances, self._accounts, self._clock, self._epoch) if allowances else None


_MAKERS: Final[Mapping[str, Callable[[Access, Configuration], IMiddleware | None]]] = {
    "access-log": Access._access_log,  # noqa: SLF001 - its own
    "request-id": Access._request_ids,  # noqa: SLF001
    "api-key": Access._api_keys,  # noqa: SLF001
    "cors": Access._cors,  # noqa: SLF001
    "rate-limit": Access._rate_limits,  # noqa: SLF001
}
"""By its name, what makes each middleware of ours if there is something for it to do."""
