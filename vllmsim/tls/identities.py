# -*- test-case-name: tests.tls.test_identities -*-
"""A certificate with its key, read from files: whole and matching, or not at all.

Files are PEM: blocks of text, each with a certificate or a key. The server's own certificate comes first, behind it
those by which clients find the way from it to an authority that they know. Key and certificate may share a file.
"""

import os
import re
import select
import stat
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Final, TypeAlias

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    IPAddress,
    SubjectAlternativeName,
    load_pem_x509_certificates,
)

from vllmsim.tls.errors import TlsError
from vllmsim.tls.settings import FileSource

_LARGEST: Final = 1 << 20
"""Bytes of the largest file that is read; bundles of all public authorities have a fifth of it."""
_PATIENCE: Final = 5.0
"""Seconds that who writes to a pipe may take."""
_KEY: Final = re.compile(rb"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY)-----.*?-----END (?P=kind)-----", re.DOTALL)
_SHOWN_NAMES: Final = 8

ServerKey: TypeAlias = EllipticCurvePrivateKey | Ed448PrivateKey | Ed25519PrivateKey | RSAPrivateKey
"""Keys of servers under TLS."""
States: TypeAlias = tuple[tuple[int, ...] | None, ...]
"""What tells without reading files that they are others: for each its device, inode, times and length, or None."""


@frozen(slots=False)
class Identity:
    """Who the server is, and whom it believes.

    :param chain: its certificate, and those between it and its authority.
    :param key: its private key.
    :param authorities: those that clients' certificates must come from.
    """

    chain: tuple[Certificate, ...]
    key: ServerKey
    authorities: tuple[Certificate, ...] = ()

    @property
    def certificate(self) -> Certificate:
        """The server's own."""
        return self.chain[0]

    @property
    def ends(self) -> datetime:
        """The last moment at which it is valid."""
        return self.certificate.not_valid_after_utc

    @property
    def lifetime(self) -> float:
        """Seconds from the first to the last moment at which it is valid."""
        return (self.ends - self.certificate.not_valid_before_utc).total_seconds()

    @cached_property
    def text(self) -> str:
        """What the log says of it: whose it is, how long, and how it is told from others."""
        certificate = self.certificate
        names = _names(certificate)
        shown = ", ".join(names[:_SHOWN_NAMES]) + (
            f" and {len(names) - _SHOWN_NAMES} more" * (len(names) > _SHOWN_NAMES)
        )
        subject = certificate.subject.rfc4514_string() or "nobody"
        digest = certificate.fingerprint(SHA256()).hex(":").upper()
        return (
            f"{subject} for {shown or 'no names'}, valid until {moment(self.ends)},"
            f" serial {certificate.serial_number:x}, SHA-256 {digest}"
        )

    @property
    def pem(self) -> bytes:
        """The certificate, for those who are to believe it."""
        return self.certificate.public_bytes(Encoding.PEM)

    def same(self, other: "Identity") -> bool:
        """Tell whether another says the same to clients."""
        return (self.chain, self.authorities) == (other.chain, other.authorities)


def moment(when: datetime) -> str:
    """Write a moment, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _names(certificate: Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, ValueError):
        return []
    return [*names.get_values_for_type(DNSName), *map(str, names.get_values_for_type(IPAddress))]


def states(paths: Iterable[str]) -> States:
    """Look at files, and where links lead that they are."""
    return tuple(map(_state, paths))


def _state(path: str) -> tuple[int, ...] | None:
    try:
        facts = Path(path).stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size


def whole(paths: Iterable[str]) -> bool:
    """Tell whether files can be read again and again, as pipes cannot. Those that are not there may come."""
    return all(_is_whole(path) for path in paths)


def _is_whole(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return True


def read_identity(source: FileSource, passphrase: str = "") -> Identity:
    """Read it.

    :param passphrase: the key's, if it is not in a file.
    :raises TlsError: when a file cannot be read, or what is in them does not go together.
    """
    certificate = _content(source.certificate, "the certificate")
    chain = _certificates(certificate, "the certificate", source.certificate)
    if source.chain:
        chain += read_certificates(source.chain, "the chain")
    if source.passphrase:
        passphrase = _passphrase(source.passphrase)
    content = certificate if source.key == source.certificate else _content(source.key, "the private key")
    key = _key(content, source.key, passphrase)
    public = _public(key.public_key())
    if public != _public(_public_key(chain[0], source.certificate)):
        fault = f"the private key in {source.key!r} is not that of the certificate in {source.certificate!r}"
        late = any(public == _public(_public_key(each, source.certificate)) for each in chain[1:])
        raise TlsError(f"{fault}, but of a later one: the server's own comes first" if late else fault)
    return Identity(chain, key, read_authorities(source.authorities))


def read_authorities(path: str) -> tuple[Certificate, ...]:
    """Read those that clients' certificates must come from; none without a path.

    :raises TlsError: when that is not possible.
    """
    return read_certificates(path, "the authorities") if path else ()


def read_certificates(path: str, what: str) -> tuple[Certificate, ...]:
    """Read all certificates of a file.

    :param what: what messages call them.
    :raises TlsError: when that is not possible.
    """
    return _certificates(_content(path, what), what, path)


def _content(path: str, what: str) -> bytes:
    try:
        with FileIO(path, opener=_open) as file:
            content = _all_of(file)
    except OSError as error:
        raise TlsError(f"cannot read {what} {path!r}: {error.strerror or error}") from error
    if len(content) > _LARGEST:
        raise TlsError(f"{path!r} is too large to be {what}")
    return content


def _open(path: str, flags: int) -> int:
    """Open a file. Who opens a pipe otherwise waits for somebody who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _all_of(file: FileIO) -> bytes:
    """Read a file, or what comes out of a pipe in time.

    :raises OSError: when that is not possible.
    """
    content, deadline, poll = b"", time.monotonic() + _PATIENCE, select.poll()
    poll.register(file, select.POLLIN)
    while len(content) <= _LARGEST:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise OSError(0, f"it is a pipe that nobody has written to the end within {_PATIENCE:g} s")
        piece = file.read(_LARGEST)
        if not piece:
            break
        content += piece
    return content


def _certificates(content: bytes, what: str, path: str) -> tuple[Certificate, ...]:
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise TlsError(f"{path!r} has no PEM certificate, where {what} should be")
    try:
        return tuple(load_pem_x509_certificates(content))
    except ValueError as error:
        raise TlsError(f"{what} in {path!r} cannot be understood") from error


def _passphrase(path: str) -> str:
    try:
        return _content(path, "the passphrase").decode().partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError as error:
        raise TlsError(f"the passphrase in {path!r} is not UTF-8") from error


def _key(content: bytes, path: str, passphrase: str) -> ServerKey:
    match = _KEY.search(content)
    if match is None:
        raise TlsError(f"{path!r} has no PEM private key")
    block = match[0]
    # PKCS 8 has it in the name, older forms in a header.
    encrypted = b"ENCRYPTED" in block
    if encrypted and not passphrase:
        raise TlsError(f"the private key in {path!r} is encrypted, and no passphrase is given")
    try:
        key = load_pem_private_key(block, passphrase.encode() if encrypted else None)
    except UnsupportedAlgorithm as error:
        raise TlsError(f"the private key in {path!r} is of a kind that is not known here") from error
    except (ValueError, TypeError) as error:
        if encrypted:
            raise TlsError(f"the passphrase does not open the private key in {path!r}") from error
        raise TlsError(f"the private key in {path!r} cannot be understood") from error
    if not isinstance(key, ServerKey):
        raise TlsError(f"the private key in {path!r} is of a kind that TLS has no use for")
    return key


def _public_key(certificate: Certificate, path: str) -> PublicKeyTypes:
    try:
        return certificate.public_key()
    except (UnsupportedAlgorithm, ValueError) as error:
        raise TlsError(f"the certificate in {path!r} has a key of a kind that is not known here") from error


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
