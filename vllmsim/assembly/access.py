# -*- test-case-name: tests.assembly.test_access -*-
"""What stands between clients and the routes of a rank, as the configuration asks.

What most servers do without is imported where it is made.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vllmsim.config.middlewares import OURS, MiddlewareEntry
from vllmsim.config.schema import Configuration
from vllmsim.config.tenants import RateLimit
from vllmsim.interfaces import IMiddleware
from vllmsim.randomness import Randomness
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.middleware.cors import Cors

if TYPE_CHECKING:
    from vllmsim.web.middleware.accounts import Accounts


@define(eq=False)
class Access:
    """Makes the chain of a rank.

    :param number: which rank it is, from 0.
    :param accounts: tells what has been used of rate limits by the clients of this process.
    :param epoch: tells seconds since the epoch.
    :param defer_to_thread: runs a function off the reactor.
    """

    _log: ClassVar[Logger] = Logger()

    _number: int
    _accounts: "Callable[[], Accounts]"
    _clock: IReactorTime
    _epoch: Callable[[], float]
    _defer_to_thread: Callable[..., Deferred[Any]]
    _randomness: Randomness
    _chain: Chain | None = field(init=False, default=None)
    _plugins: dict[str, tuple[MiddlewareEntry, IMiddleware]] = field(init=False, factory=dict)
    """Those of plugins that are in the chain, by name: one whose options stay as they are stays too."""

    def chain(self, c: Configuration) -> Chain:
        """Put the chain together: what the option names in its order, then the rest of ours in theirs.

        :raises SystemExit: when what is a plugin's cannot be had at the start. A change is tried before it leads here;
            if it cannot be even so, the chain stays as it was.
        """
        try:
            self._chain = self._put_together(c)
        except SystemExit as error:
            if self._chain is None:
                raise
            self._log.error("{error}; the chain stays as it was.", error=error)
        return self._chain

    def _put_together(self, c: Configuration) -> Chain:
        named = {entry.name: entry for entry in c.middleware}
        self._plugins = {name: made for name, made in self._plugins.items() if made[0] == named.get(name)}
        names = [*(name for name, entry in named.items() if entry.enabled), *(n for n in OURS if n not in named)]
        members = [self._member(name, named.get(name), c) for name in names]
        return Chain([member for member in members if member is not None])

    def _member(self, name: str, entry: MiddlewareEntry | None, c: Configuration) -> IMiddleware | None:
        if entry is not None and name not in OURS:
            return self._plugin(entry, c)
        return _MAKERS[name](self, c)

    def _plugin(self, entry: MiddlewareEntry, c: Configuration) -> IMiddleware:
        if entry.name not in self._plugins:
            # Few servers have plugins.
            from vllmsim.assembly.plugging import Plugging  # noqa: PLC0415
            from vllmsim.plugins.registry import PluginError  # noqa: PLC0415

            plugging = Plugging(c, self._number, self._clock, self._defer_to_thread, self._randomness.renewed)
            try:
                self._plugins[entry.name] = entry, plugging.middleware(entry.name, entry.options)
            except PluginError as error:
                raise SystemExit(f"vllmsim: cannot start: middleware: {error}") from error
        return self._plugins[entry.name][1]

    def _access_log(self, c: Configuration) -> IMiddleware | None:
        if not c.access_log or c.disable_uvicorn_access_log:
            return None
        from vllmsim.web.middleware.accesslog import AccessLog  # noqa: PLC0415

        paths = (c.disable_access_log_for_endpoints or "").split(",")
        return AccessLog(self._clock, frozenset(path.strip().encode() for path in paths if path.strip()))

    def _http_log(self, c: Configuration) -> IMiddleware | None:
        if not c.log_http:
            return None
        # Few servers do so for long.
        from vllmsim.config.secrets import secret_names, secret_values  # noqa: PLC0415
        from vllmsim.web.middleware.httplog import HttpLog  # noqa: PLC0415
        from vllmsim.web.middleware.masking import Masking  # noqa: PLC0415

        return HttpLog(self._clock, self._number, Masking(secret_values(c), secret_names()))

    def _request_ids(self, c: Configuration) -> IMiddleware | None:
        if not c.enable_request_id_headers:
            return None
        from vllmsim.web.middleware.requestids import RequestIds  # noqa: PLC0415

        return RequestIds()

    def _api_keys(self, c: Configuration) -> IMiddleware | None:
        open_keys = (*c.api_key, *(c.api_key_file.keys if c.api_key_file else ()))
        keys: dict[str, str | None] = dict.fromkeys(open_keys)
        keys |= {key: tenant.name for tenant in c.tenants for key in tenant.keys}
        if not keys:
            return None
        from vllmsim.web.middleware.apikeys import ApiKeys  # noqa: PLC0415

        return ApiKeys(keys.items())

    def _cors(self, c: Configuration) -> IMiddleware:
        return Cors(c.allowed_origins, c.allowed_methods, c.allowed_headers, c.allow_credentials)

    def _rate_limits(self, c: Configuration) -> IMiddleware | None:
        everyone: dict[str | None, RateLimit | None] = {tenant.name: tenant.limit for tenant in c.tenants}
        everyone[None] = c.rate_limit
        limits = {name: limit for name, limit in everyone.items() if limit is not None}
        if not limits:
            return None
        from vllmsim.web.middleware.ratelimits import Allowance, RateLimits  # noqa: PLC0415

        allowances = {name: Allowance(each.requests, each.tokens, each.burst) for name, each in limits.items()}
        return RateLimits(allowances, self._accounts(), self._clock, self._epoch)


_MAKERS: Final[Mapping[str, Callable[[Access, Configuration], IMiddleware | None]]] = {
    "access-log": Access._access_log,  # noqa: SLF001 - its own
    "log-http": Access._http_log,  # noqa: SLF001
    "request-id": Access._request_ids,  # noqa: SLF001
    "api-key": Access._api_keys,  # noqa: SLF001
    "cors": Access._cors,  # noqa: SLF001
    "rate-limit": Access._rate_limits,  # noqa: SLF001
}
"""By its name, what makes each middleware of ours if there is something for it to do."""
