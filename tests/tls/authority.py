"""An authority of our own, which certifies whom tests want."""

import time
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    CertificateBuilder,
    DNSName,
    GeneralName,
    IPAddress,
    Name,
    NameAttribute,
    SubjectAlternativeName,
    random_serial_number,
)
from cryptography.x509.oid import NameOID

DAY = 86400.0


@frozen
class Pair:
    """A certificate and its key."""

    certificate: Certificate
    key: Any

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as files have it."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as files have it."""
        return self.encrypted("")

    def encrypted(self, passphrase: str, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
        """The key as files have it under a passphrase."""
        encryption: KeySerializationEncryption = NoEncryption()
        if passphrase:
            encryption = BestAvailableEncryption(passphrase.encode())
        pem: bytes = self.key.private_bytes(Encoding.PEM, form, encryption)
        return pem

    def write(self, folder: Path, name: str = "server") -> tuple[str, str]:
        """Write both into files of a folder.

        :return: their paths.
        """
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        key.write_bytes(self.key_pem)
        return str(certificate), str(key)


class Authority:
    """Certifies.

    :param superior: who has certified it; itself unless said otherwise.
    """

    def __init__(self, name: str = "Authority", superior: "Authority | None" = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        signer, now = superior or self, time.time()
        self.certificate = signer._sign(self._key, self._name, now - DAY, now + DAY, (), authority=True)

    @property
    def pem(self) -> bytes:
        """Its certificate as files have it."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        name: str = "server",
        begins: float | None = None,
        ends: float | None = None,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        key: Any = None,
    ) -> Pair:
        """Certify someone, from an hour ago and for a hundred days unless said otherwise.

        :param begins: when that is valid, in seconds since the epoch.
        :param ends: when no more.
        """
        now = time.time()
        key = key or ec.generate_private_key(ec.SECP256R1())
        begins = now - 3600 if begins is None else begins
        return Pair(self._sign(key, _name(name), begins, ends or now + 100 * DAY, names), key)

    def _sign(
        self, key: Any, subject: Name, begins: float, ends: float, names: tuple[str, ...], *, authority: bool = False
    ) -> Certificate:
        builder = (
            CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(random_serial_number())
            .not_valid_before(datetime.fromtimestamp(begins, UTC).replace(microsecond=0))
            .not_valid_after(datetime.fromtimestamp(ends, UTC).replace(microsecond=0))
            .add_extension(BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(SubjectAlternativeName(list(map(_general, names))), critical=False)
        return builder.sign(self._key, SHA256())


def _name(text: str) -> Name:
    return Name([NameAttribute(NameOID.COMMON_NAME, text)])


def _general(text: str) -> GeneralName:
    return IPAddress(ip_address(text)) if text[0].isdigit() else DNSName(text)
