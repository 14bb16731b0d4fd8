# -*- test-case-name: tests.web.middleware.test_accounts -*-
"""What has been used of rate limits: buckets that leak, evenly and at every moment, as OpenAI's do.

A bucket knows what has been used and when that was last so; what is allowed may change from one look to the next. Used
may be more than the bucket holds, when a request turns out to have cost more than it was charged for: then nothing is
let in until so much has leaked.
"""

from typing import Final

from attrs import define, field

MINUTE: Final = 60.0
_TINY: Final = 1e-6
"""What rounding may make of nothing."""
_MOST: Final = 4096


@define(eq=False)
class Bucket:
    """How much of one thing somebody has used.

    :param rate: how much leaks each second.
    :param capacity: how much may be used at once.
    """

    rate: float = 1.0
    capacity: float = 1.0
    used: float = 0.0
    _at: float = 0.0

    def allow(self, per_minute: int, burst: float, now: float) -> None:
        """Leak until now, and have so much be allowed from now on.

        When that becomes less, who was within the limit is so still, and a debt is as many times the limit as before.

        :param burst: how many seconds' worth may be used at once; it is at least one of whatever is counted.
        """
        self._leak(now)
        self.rate = per_minute / MINUTE
        before, self.capacity = self.capacity, max(1.0, self.rate * burst)
        if self.used > self.capacity < before:
            self.used = self.capacity * max(1.0, self.used / before)

    def _leak(self, now: float) -> None:
        self.used = max(0.0, self.used - self.rate * max(0.0, now - self._at))
        self._at = now

    def wait_for(self, amount: float) -> float:
        """Tell in how many seconds there will be room for an amount; 0 for now. It must not be above the capacity."""
        lacking = self.used + amount - self.capacity
        return lacking / self.rate if lacking > _TINY * max(1.0, self.rate) else 0.0

    def charge(self, amount: float, now: float) -> None:
        """Use an amount, or give it back where it is negative, as far as it has not leaked."""
        self._leak(now)
        self.used = max(0.0, self.used + amount)

    @property
    def remaining(self) -> int:
        """How much may be used now."""
        return max(0, int(self.capacity - self.used + _TINY))

    @property
    def reset(self) -> float:
        """In how many seconds there is room for everything."""
        return self.used / self.rate


@define(eq=False)
class Account:
    """What one tenant has used."""

    requests: Bucket = field(factory=Bucket)
    tokens: Bucket = field(factory=Bucket)


@define(eq=False)
class Accounts:
    """The accounts of all tenants of a process, and the one that everybody else has."""

    _accounts: dict[str | None, Account] = field(init=False, factory=dict)

    def of(self, tenant: str | None) -> Account:
        """Find an account, or open it.

        :param tenant: None for everybody else.
        """
        account = self._accounts.get(tenant)
        if account is None:
            if len(self._accounts) >= _MOST:
                # Tenants come and go with the configuration; who was first has been idle for longest, or begins anew.
                self._accounts.pop(next(iter(self._accounts)))
            account = self._accounts[tenant] = Account()
        return account
