# -*- test-case-name: tests.config.test_secrets -*-
"""What of a configuration is secret, so that logs can leave it out."""

from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from vllmsim.config.schema import Configuration, own_options
from vllmsim.config.tenants import Tenant


@cache
def secret_names() -> frozenset[str]:
    """List the options that are secrets."""
    return frozenset(option.name for option in own_options() if option.secret)


def secret_values(configuration: Configuration) -> frozenset[str]:
    """List the secrets that a configuration has."""
    c = configuration
    found = set(c.api_key_file.keys) if c.api_key_file else set[str]()
    for option in own_options():
        value = getattr(c, option.attribute)
        if option.secret and value != option.default:
            found.update(_texts(value))
    return frozenset(filter(None, found))


def _texts(value: Any) -> Iterator[str]:
    """List the secrets in a value: of an address with a password, both."""
    if isinstance(value, str):
        yield value
        if "://" in value:
            password = _password(value)
            yield password
            yield unquote(password)
    elif isinstance(value, Tenant):
        yield from value.keys
    elif isinstance(value, tuple):
        for each in value:
            yield from _texts(each)


def _password(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:
        return ""
