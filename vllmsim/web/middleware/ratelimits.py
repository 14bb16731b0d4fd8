# -*- test-case-name: tests.web.middleware.test_ratelimits -*-
"""Rate limits: so many requests and tokens a minute for each tenant, told in the way of each dialect.

Only routes for inference are limited. Each of their answers says what is left; a request for which there is no room is
answered 429, is told when there will be, and costs nothing.

A request that is let in is charged one request and an estimate of its tokens (see
:func:`vllmsim.api.ratelimits.estimated_tokens`). When its work is over, also in the background, or its client has left,
what was really computed takes the place of the estimate: the prompt's tokens and those that were generated. So nothing
is counted twice; what was not estimated is owed, and leaks before anyone is let in again. Of an estimate that was too
high, what has leaked by then is not given back.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import define, frozen
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim.api.ratelimits import (
    Level,
    anthropic_headers,
    estimated_tokens,
    openai_headers,
    refusal,
    retry_headers,
)
from vllmsim.interfaces import IExchange, IMiddleware
from vllmsim.web.middleware.accounts import Accounts, Bucket


@frozen
class Allowance:
    """What somebody may ask for.

    :param requests: per minute; None for any number. So are tokens.
    :param burst: how many seconds' worth may be had at once.
    """

    requests: int | None
    tokens: int | None
    burst: float


@frozen(eq=False)
class _Charge:
    """What a request takes of one thing.

    :param kind: ``requests`` or ``tokens``.
    :param limit: how much there is of it in a minute.
    """

    kind: str
    bucket: Bucket
    limit: int
    amount: int

    @property
    def level(self) -> Level:
        """How much is left."""
        return Level(self.kind, self.limit, self.bucket.remaining, self.bucket.reset)

    @property
    def wait(self) -> float | None:
        """Seconds until there is room; None for never."""
        return None if self.amount > self.bucket.capacity else self.bucket.wait_for(self.amount)


@implementer(IMiddleware)
@define(eq=False)
class RateLimits:
    """Lets pass what limits allow.

    :param allowances: by tenant, and of None for all together who are none; who is not there is not limited.
    :param accounts: what has been used so far; others may share it.
    :param epoch: tells seconds since the epoch.
    """

    _allowances: Mapping[str | None, Allowance]
    accounts: Accounts
    _clock: IReactorTime
    _epoch: Callable[[], float]

    def begin(self, exchange: IExchange) -> None:
        """Charge a request, or refuse it."""
        allowance = self._allowances.get(exchange.tenant) if exchange.inference else None
        if allowance is None:
            return
        now, charges = self._clock.seconds(), self._charges(exchange, allowance)
        for charge in charges:
            charge.bucket.allow(charge.limit, allowance.burst, now)
        # Who wants too much for ever is told so first, and then who must wait longest.
        waits = [(charge.wait is None, charge.wait or 0.0, charge) for charge in charges]
        never, wait, worst = max(waits, key=lambda each: each[:2])
        if never or wait:
            self._tell(exchange, charges)
            for name, value in retry_headers(None if never else wait):
                exchange.setHeader(name, value)
            raise refusal(worst.level, worst.amount, None if never else wait)
        for charge in charges:
            charge.bucket.charge(charge.amount, now)
            if charge.kind == "tokens":
                exchange.when_used(partial(self._correct, charge))
        self._tell(exchange, charges)

    def _charges(self, exchange: IExchange, allowance: Allowance) -> list[_Charge]:
        account = self.accounts.of(exchange.tenant)
        charges = []
        if allowance.requests is not None:
            charges.append(_Charge("requests", account.requests, allowance.requests, 1))
        if allowance.tokens is not None:
            tokens = estimated_tokens(exchange.body)
            charges.append(_Charge("tokens", account.tokens, allowance.tokens, tokens))
        return charges

    def _correct(self, charge: _Charge, used: int) -> None:
        """Put what was used in the place of what was estimated."""
        charge.bucket.charge(used - charge.amount, self._clock.seconds())

    def _tell(self, exchange: IExchange, charges: Sequence[_Charge]) -> None:
        """Tell what is left."""
        for charge in charges:
            level = charge.level
            told = anthropic_headers(level, self._epoch()) if exchange.dialect == "anthropic" else openai_headers(level)
            for name, value in told:
                exchange.setHeader(name, value)

    def end(self, exchange: IExchange) -> None:
        """Have nothing to do: what was used may be known later."""
