# -*- test-case-name: tests.tls.test_settings -*-
"""What the words of an endpoint string ask for.

Arguments are called as those of Twisted's ``ssl:`` endpoint are, where it has them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import field, frozen

from vllmsim.tls.errors import TlsError

_BACKLOG: Final = 50
_MOST_PORTS: Final = 65535
_LONGEST_NUMBER: Final = 9
_COMMON: Final = ("interface", "backlog", "ciphers")
_ASKING: Final = {"no": 0, "optional": 1, "required": 2}
_FLAG: Final = {"no": 0, "yes": 1}


@frozen
class Place:
    """Where to listen.

    :param port: its number; 0 for one that the system finds.
    :param interface: an address, with colons for IPv6; all of IPv4 if empty.
    :param backlog: how many connections may wait to be accepted.
    """

    port: int
    interface: str = ""
    backlog: int = _BACKLOG


@frozen
class Manner:
    """How TLS is spoken.

    :param ciphers: those of TLS 1.2, in OpenSSL's words; the usual ones if empty. Those of TLS 1.3 are all good.
    :param asking: whether clients need a certificate: 0 not at all, 1 if they have one it must be right, 2 always.
    """

    ciphers: str = ""
    asking: int = 0


@frozen
class FileSource:
    """Certificates from PEM files.

    :param certificate: has the server's, and behind it those between it and its authority.
    :param key: has its private key.
    :param chain: has more of those between, if not empty.
    :param authorities: has those that clients' certificates must come from; none if empty.
    :param passphrase: has the key's passphrase in its first line, if not empty.
    :param watched: whether files that change are read again.
    """

    certificate: str
    key: str
    chain: str = ""
    authorities: str = ""
    passphrase: str = ""
    watched: bool = True

    @property
    def paths(self) -> tuple[str, ...]:
        """All files that there are, each once."""
        every = (self.certificate, self.key, self.chain, self.authorities, self.passphrase)
        return tuple(dict.fromkeys(filter(None, every)))


@frozen
class SelfSigned:
    """A certificate that is made at the start, and whose key is in memory alone.

    :param names: names and addresses that clients may reach the server by, beside those of the machine.
    :param certificate: the file that it is written to, for clients; none if empty.
    :param authorities: as in :class:`FileSource`.
    """

    names: tuple[str, ...] = ()
    certificate: str = ""
    authorities: str = ""
    watched: bool = field(default=False, init=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """All files that are read."""
        return (self.authorities,) if self.authorities else ()


Source: TypeAlias = FileSource | SelfSigned


@frozen
class Wanted:
    """A whole endpoint."""

    place: Place
    source: Source
    manner: Manner


def _self_signed(words: Mapping[str, str]) -> Source:
    names = tuple(filter(None, words.get("names", "").split(",")))
    return SelfSigned(names, _path(words, "certificate"), _path(words, "caCerts"))


def _reloading(words: Mapping[str, str]) -> Source:
    certificate = _path(words, "certKey") or _path(words, "privateKey")
    if not certificate:
        raise TlsError("it names no certKey")
    key = _path(words, "privateKey") or certificate
    chain, authorities, passphrase = (_path(words, name) for name in ("extraCertChain", "caCerts", "passphraseFile"))
    return FileSource(certificate, key, chain, authorities, passphrase, bool(_choice(words, "reload", _FLAG, 1)))


_PREFIXES: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, str]], Source]]]] = {
    "selfsignedtls": (("port", "names", "certificate", "caCerts", "verify", *_COMMON), _self_signed),
    "reloadingtls": (
        ("port", "privateKey", "certKey", "extraCertChain", "caCerts", "verify", "passphraseFile", "reload", *_COMMON),
        _reloading,
    ),
}
PREFIXES: Final = tuple(_PREFIXES)
"""What endpoint strings of ours begin with."""


def read_words(prefix: str, positional: Sequence[str], named: Mapping[str, str]) -> Wanted:
    """Read the words behind a prefix.

    :param prefix: one of :data:`PREFIXES`.
    :param positional: those without a name: the port, and files in the order of Twisted's ``ssl:``.
    :param named: those with one.
    :raises TlsError: when they ask for nothing that can be.
    """
    known, source = _PREFIXES[prefix]
    words = dict(zip(known, positional, strict=False))
    unknown = [*positional[len(known) :], *(name for name in named if name not in known)]
    if unknown:
        raise TlsError(f"{prefix} has no argument {unknown[0]!r}; it has {', '.join(known)}")
    if doubled := [name for name in named if name in words]:
        raise TlsError(f"{doubled[0]} is there twice")
    words.update(named)
    asking = _choice(words, "verify", _ASKING, 2 if words.get("caCerts") else 0)
    if asking and not words.get("caCerts"):
        raise TlsError("verify needs caCerts, which clients' certificates are to come from")
    place = Place(
        _number(words, "port", None, _MOST_PORTS), words.get("interface", ""), _number(words, "backlog", _BACKLOG, None)
    )
    return Wanted(place, source(words), Manner(words.get("ciphers", ""), asking))


def _path(words: Mapping[str, str], name: str) -> str:
    """Find a file, also if the process goes to another folder later."""
    path = words.get(name, "")
    return path and os.path.abspath(path)  # noqa: PTH100


def _number(words: Mapping[str, str], name: str, default: int | None, most: int | None) -> int:
    text = words.get(name, "")
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER) or (most and int(text) > most):
        raise TlsError(f"{name} must be a number{'' if most is None else f' of at most {most}'}, not {text!r}")
    return int(text)


def _choice(words: Mapping[str, str], name: str, choices: Mapping[str, int], default: int) -> int:
    text = words.get(name, "")
    if text and text not in choices:
        raise TlsError(f"{name} must be one of {', '.join(choices)}, not {text!r}")
    return choices[text] if text else default
