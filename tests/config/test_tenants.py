"""Tenants and rate limits."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.keys import MOST_KEYS
from vllmsim.config.tenants import (
    RateLimit,
    Tenant,
    parse_rate_limit,
    parse_tenants,
    write_rate_limit,
    write_tenants,
)


class LimitTests(SynchronousTestCase):
    """Limits of those who are no tenants."""

    def test_read(self) -> None:
        """A limit is on requests, on tokens or on both; without any there is none."""
        for value, limit in (
            ({"requests-per-minute": 3}, RateLimit(3)),
            ({"tokens-per-minute": 5, "burst": "10s"}, RateLimit(None, 5, 10.0)),
            ({"requests-per-minute": 3, "tokens-per-minute": 5, "burst": 1}, RateLimit(3, 5, 1.0)),
            ({}, None),
        ):
            self.assertEqual(limit, parse_rate_limit(value))
            if limit is not None:
                self.assertEqual(limit, parse_rate_limit(write_rate_limit(limit)))

    def test_wrong(self) -> None:
        """What is wrong is named."""
        for value, fault in (
            ({"requests-per-minute": 0}, "requests-per-minute: must be an integer from 1"),
            ({"requests-per-minute": 1.5}, "requests-per-minute: must be an integer from 1"),
            ({"tokens-per-minute": True}, "tokens-per-minute: must be an integer from 1"),
            ({"tokens-per-minute": 10**400}, "tokens-per-minute: must be an integer from 1"),
            ({"requests-per-minute": 1, "burst": 0}, "burst: must be above 0"),
            ({"burst": "1s"}, "burst: goes with requests-per-minute or tokens-per-minute"),
            ({"rpm": 1}, "rpm: is no member of a rate limit"),
        ):
            self.assertIn(fault, str(self.assertRaises(InvalidMembers, parse_rate_limit, value)))
        self.assertRaises(ValueError, parse_rate_limit, [])


class TenantTests(SynchronousTestCase):
    """Who shares a server."""

    def fault(self, value: Any) -> str:
        """Read tenants that are wrong."""
        return str(self.assertRaises(ValueError, parse_tenants, value))

    def test_read(self) -> None:
        """Tenants are a list or a map, with keys and with limits of their own."""
        expected = (Tenant("a", ("k1", "k2"), ("k1", "k2"), "", RateLimit(3)), Tenant("b", ("k3",), ("k3",)))
        self.assertEqual(
            expected,
            parse_tenants([{"name": "a", "keys": ["k1", "k2"], "requests-per-minute": 3}, {"name": "b", "keys": "k3"}]),
        )
        self.assertEqual(
            expected, parse_tenants({"a": {"keys": ["k1", "k2"], "requests-per-minute": 3}, "b": {"keys": "k3"}})
        )
        self.assertEqual(expected, parse_tenants(write_tenants(expected)))
        self.assertEqual((), parse_tenants([]))

    def test_key_file(self) -> None:
        """Keys may come from a file, beside others; they are not written down again."""
        path = self.mktemp()
        Path(path).write_text("k2\nk1\n")
        path = str(Path(path).absolute())
        [tenant] = parse_tenants([{"name": "a", "keys": ["k1"], "key-file": path}])
        self.assertEqual(("k1", "k2"), tenant.keys)
        self.assertEqual([{"name": "a", "keys": ["k1"], "key-file": path}], write_tenants((tenant,)))

    def test_shown(self) -> None:
        """A tenant shows no keys to whoever prints it."""
        self.assertNotIn("hunter2", repr(parse_tenants([{"name": "a", "keys": ["hunter2"]}])))

    def test_wrong(self) -> None:
        """What is wrong is named by the tenant's place, and no key is shown."""
        for value, fault in (
            ([{"keys": ["hunter2"]}], "0.name: is missing"),
            ([{"name": "a"}], "0.keys: is missing: a tenant has keys, or a key-file"),
            ([{"name": "a", "keys": []}], "0.keys: must have at least one key"),
            ([{"name": "a", "keys": ["hunter2", ""]}], "0.keys: a key must not be empty"),
            ([{"name": "a", "keys": ["hunter2\n"]}], "0.keys: a key has no blanks around it"),
            ([{"name": "a", "keys": [7]}], "0.keys: a key must be text"),
            ([{"name": "a", "key-file": "/nowhere"}], "0.key-file: cannot read '/nowhere'"),
            ([{"name": "a", "key-file": 7}], "0.key-file: must be the path"),
            ([{"name": "", "keys": "k"}], "0.name: must be a name of 1 to 64 characters"),
            ([{"name": "a\nb", "keys": "k"}], "0.name: must be a name of 1 to 64 characters"),
            ([{"name": ["a"], "keys": "k"}], "0.name: must be text"),
            ([{"name": "a", "keys": "hunter2"}, {"name": "b", "keys": "hunter2"}], "1.keys: has a key that is a's too"),
            ([{"name": "a", "keys": "k"}, {"name": "a", "keys": "l"}], "1.name: 'a' is there twice"),
            ([{"name": "a", "keys": "k", "rpm": 1}], "0.rpm: is no member of a tenant"),
            ({"a": 7}, "a.name: is missing: a tenant is a map"),
            ({"a": {"keys": "k", "burst": 1}}, "a.burst: goes with"),
            (7, "it is neither a list nor a map"),
            ([{}] * 257, "it has 257 tenants, and at most 256 are allowed"),
            ([{"name": str(n), "keys": [f"{n}-{k}" for k in range(600)]} for n in range(2)],
             f"have at most {MOST_KEYS} keys"),
        ):  # fmt: skip
            told = self.fault(value)
            self.assertIn(fault, told)
            self.assertNotIn("hunter2", told)
