# -*- test-case-name: tests.tls.test_selfsigned -*-
"""Certificates that vouch for themselves, made in a millisecond.

They are no authorities, so that clients who are given one believe in this server alone.
"""

import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CertificateBuilder,
    DNSName,
    ExtendedKeyUsage,
    GeneralName,
    IPAddress,
    Name,
    NameAttribute,
    ObjectIdentifier,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
    random_serial_number,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vllmsim.tls.errors import TlsError
from vllmsim.tls.identities import Identity

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_VALID: Final = timedelta(days=825)
"""As long as all clients let a certificate be valid."""
_BEFORE: Final = timedelta(hours=1)
"""How far clients' clocks may be behind."""


def server_identity(names: Iterable[str], now: float) -> Identity:
    """Make the certificate of a server.

    :param names: what clients may reach it by, beside this machine's name and ``localhost`` with its addresses.
    :param now: the time, in seconds since the epoch.
    :raises TlsError: when a name is none.
    """
    every = dict.fromkeys(map(_general, [*_LOCAL, *names]))
    own = _own_name()
    if own is not None:
        every[own] = None
    return _signed("vllmsim", list(every), ExtendedKeyUsageOID.SERVER_AUTH, now)


def client_identity(now: float) -> Identity:
    """Make the certificate of a client, which a server must be told to believe."""
    return _signed("vllmsim supervisor", [], ExtendedKeyUsageOID.CLIENT_AUTH, now)


def _own_name() -> GeneralName | None:
    try:
        return _general(socket.gethostname())
    except TlsError:
        return None


def _general(name: str) -> GeneralName:
    try:
        return IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        return DNSName(name if name.isascii() else name.encode("idna").decode())
    except ValueError as error:
        raise TlsError(f"{name!r} is no name that a certificate can have") from error


def _signed(common: str, names: list[GeneralName], use: ObjectIdentifier, now: float) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    subject = Name([NameAttribute(NameOID.COMMON_NAME, common)])
    begins = datetime.fromtimestamp(now, UTC)
    builder = (
        CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(random_serial_number())
        .not_valid_before(begins - _BEFORE)
        .not_valid_after(begins + _VALID)
        .add_extension(BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(ExtendedKeyUsage([use]), critical=False)
        .add_extension(SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    if names:
        builder = builder.add_extension(SubjectAlternativeName(names), critical=False)
    return Identity((builder.sign(key, SHA256()),), key)
