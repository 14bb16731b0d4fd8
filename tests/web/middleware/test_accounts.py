"""What has been used of rate limits."""

import math

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web.middleware.accounts import Accounts, Bucket


class BucketTests(SynchronousTestCase):
    """A bucket that leaks."""

    def bucket(self, per_minute: int = 60, burst: float = 60.0) -> Bucket:
        """Make one."""
        bucket = Bucket()
        bucket.allow(per_minute, burst, 0.0)
        return bucket

    def test_leak(self) -> None:
        """What is used leaks evenly, and no further than to nothing."""
        bucket = self.bucket()
        bucket.charge(60, 0.0)
        self.assertEqual((0, 60.0, 1.0, 10.0), (
            bucket.remaining, bucket.reset, bucket.wait_for(1), bucket.wait_for(10)))  # fmt: skip
        bucket.allow(60, 60.0, 7.5)
        self.assertEqual((7, 0.0, 0.5), (bucket.remaining, bucket.wait_for(7), bucket.wait_for(8)))
        bucket.allow(60, 60.0, 1000.0)
        self.assertEqual((60, 0.0), (bucket.remaining, bucket.reset))

    def test_burst(self) -> None:
        """A bucket may hold less than a minute's worth, but one of what is counted in any case, and more."""
        self.assertEqual(5, self.bucket(burst=5.0).remaining)
        self.assertEqual(1, self.bucket(1, burst=5.0).remaining)
        self.assertEqual(120, self.bucket(burst=120.0).remaining)

    def test_huge(self) -> None:
        """Who waits as long as was said finds room, also where so much leaks in a moment that rounding counts."""
        bucket = self.bucket(1 << 40)
        bucket.allow(1 << 40, 10.0, 1e9)
        bucket.charge(183251937962, 1e9)
        wait = math.ceil(bucket.wait_for(183251937962) * 1000) / 1000
        bucket.allow(1 << 40, 10.0, 1e9 + wait)
        self.assertEqual(0.0, bucket.wait_for(183251937962))

    def test_debt(self) -> None:
        """More may be owed than a bucket holds, and all of it leaks before there is room."""
        bucket = self.bucket()
        bucket.charge(90, 0.0)
        self.assertEqual((0, 31.0), (bucket.remaining, bucket.wait_for(1)))

    def test_given_back(self) -> None:
        """What is given back is what has not leaked yet: nobody gets more than the bucket holds."""
        bucket = self.bucket()
        bucket.charge(30, 0.0)
        bucket.charge(-30, 20.0)
        self.assertEqual((60, 0.0), (bucket.remaining, bucket.used))

    def test_more(self) -> None:
        """What has been used stays used when the limit becomes higher."""
        bucket = self.bucket()
        bucket.charge(60, 0.0)
        bucket.allow(600, 60.0, 0.0)
        self.assertEqual(540, bucket.remaining)

    def test_less(self) -> None:
        """Where it becomes lower nobody waits for longer than a minute for what was allowed before."""
        bucket = self.bucket(1_000_000)
        bucket.charge(500_000, 0.0)
        bucket.allow(60, 60.0, 0.0)
        self.assertEqual((0, 1.0, 60.0), (bucket.remaining, bucket.wait_for(1), bucket.reset))

    def test_less_for_debts(self) -> None:
        """A debt takes as long to leak as it would have."""
        bucket = self.bucket(600)
        bucket.charge(1800, 0.0)
        self.assertEqual(180.0, bucket.reset)
        bucket.allow(60, 60.0, 0.0)
        self.assertEqual(180.0, bucket.reset)

    def test_clock_stands(self) -> None:
        """A time that was before changes nothing."""
        bucket = self.bucket()
        bucket.charge(10, 5.0)
        bucket.charge(0, 4.0)
        self.assertEqual(50, bucket.remaining)


class AccountTests(SynchronousTestCase):
    """The accounts of a process."""

    def test_same(self) -> None:
        """A tenant has one account, and everybody else has one."""
        accounts = Accounts()
        self.assertIs(accounts.of("a"), accounts.of("a"))
        self.assertIsNot(accounts.of("a"), accounts.of(None))

    def test_bounded(self) -> None:
        """However many tenants come and go, there is no end of room for them that is taken."""
        accounts = Accounts()
        first, last = accounts.of("0"), None
        for number in range(1, 5000):
            last = accounts.of(str(number))
        self.assertIsNot(first, accounts.of("0"))
        self.assertIs(last, accounts.of("4999"))
