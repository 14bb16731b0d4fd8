# -*- test-case-name: tests.test_secrecy -*-
"""How secrets are told by where they stand, and what is shown in their place.

What is called like one is one: a header, an argument of a query, a member of a map. In an address it is what comes
before the host, and the query, which may be a signature.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

MASK: Final = "***"
"""What stands for a secret."""
_NAMES: Final = re.compile(
    r"auth|cookie|api[-_]?key|(?:^|(?<!idempotency)[-_])key$|token(?!s|iz)|secret|passw|passphrase|credential|signature",
    re.IGNORECASE,
)
_USER: Final = re.compile(r"(?<=://)[^\s/?#]*@")
_QUERY: Final = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?]*\?)\S+", re.IGNORECASE)


def looks_secret(name: str) -> bool:
    """Tell whether what has such a name, as a header or an argument of a query, is a secret."""
    return _NAMES.search(name) is not None


def open_text(text: str) -> str:
    """Show a text without what its addresses have before their hosts, and without its query if it is an address."""
    shown = _USER.sub(f"{MASK}@", text)
    address = _QUERY.fullmatch(shown)
    return f"{address[1]}{MASK}" if address else shown


def open_target(target: str, hide: Callable[[str], str] = lambda _: MASK) -> str:
    """Show a request's target without who signs in at its host, and without arguments that are called like secrets.

    :param hide: what is shown in the place of an argument's value.
    """
    path, mark, query = target.partition("?")
    return f"{open_text(path)}{mark}{'&'.join(_open_argument(each, hide) for each in query.split('&'))}"


def _open_argument(argument: str, hide: Callable[[str], str]) -> str:
    name, _, value = argument.partition("=")
    return f"{name}={hide(value)}" if value and looks_secret(unquote(name)) else argument


def open_value(value: Any) -> Any:
    """Show a value of JSON without secrets. Numbers are none, whatever they are called."""
    if isinstance(value, str):
        return open_text(value)
    if isinstance(value, list | tuple):
        return [open_value(each) for each in value]
    if isinstance(value, Mapping):
        return {
            name: MASK if looks_secret(str(name)) and _may_be_secret(each) else open_value(each)
            for name, each in value.items()
        }
    return value


def _may_be_secret(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_may_be_secret, value))
    return bool(value) and isinstance(value, str | Mapping)
