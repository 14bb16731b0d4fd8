# -*- test-case-name: tests.tls.test_contexts -*-
"""What OpenSSL is told: TLS 1.2 at least, ciphers with forward secrecy, whom to believe.

Sessions may be resumed by tickets, which cost no memory here; their keys go when the certificate is replaced.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from cryptography.x509 import Certificate
from OpenSSL import SSL
from OpenSSL.crypto import X509, Error

from vllmsim.tls.errors import TlsError
from vllmsim.tls.identities import Identity
from vllmsim.tls.settings import Manner

_CIPHERS: Final = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)
_VERIFY: Final = (SSL.VERIFY_NONE, SSL.VERIFY_PEER, SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
_OPTIONS: Final = SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION
_NO_AUTO_CHAIN: Final = 8
"""What OpenSSL calls not sending authorities of clients as if they were the server's own."""


def make_context(identity: Identity, manner: Manner, trusted: Iterable[Certificate] = ()) -> SSL.Context:
    """Make what connections are made with.

    :param trusted: clients' certificates that are believed too, without being told to others.
    :raises TlsError: when OpenSSL does not take it.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _NO_AUTO_CHAIN)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Clients with certificates cannot resume without.
    context.set_session_id(b"vllmsim")
    _set_ciphers(context, manner.ciphers)
    try:
        _present(context, identity)
        _ask(context, identity.authorities, manner.asking, trusted)
    except (SSL.Error, Error, ValueError, TypeError) as error:
        raise TlsError(f"OpenSSL does not take the certificate: {reason_of(error)}") from error
    context.set_alpn_select_callback(_choose)
    return context


def reason_of(error: BaseException | None) -> str:
    """Say in OpenSSL's words what went wrong."""
    entries = error.args[0] if error is not None and error.args else None
    if isinstance(entries, list):
        # It says nothing about who is simply gone.
        return str(entries[-1][-1]) or "unknown" if entries else "unexpected eof while reading"
    return str(error) or type(error).__name__


def _set_ciphers(context: SSL.Context, ciphers: str) -> None:
    try:
        context.set_cipher_list((ciphers or _CIPHERS).encode())
    except (SSL.Error, Error) as error:
        raise TlsError(f"no cipher of TLS 1.2 is called {ciphers!r}") from error


def _present(context: SSL.Context, identity: Identity) -> None:
    context.use_certificate(identity.certificate)
    for further in identity.chain[1:]:
        context.add_extra_chain_cert(further)
    context.use_privatekey(identity.key)
    context.check_privatekey()


def _ask(context: SSL.Context, authorities: Sequence[Certificate], asking: int, trusted: Iterable[Certificate]) -> None:
    context.set_verify(_VERIFY[asking])
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
        # So that clients find out which of their certificates is meant.
        context.add_client_ca(authority)
    for each in trusted:
        store.add_cert(X509.from_cryptography(each))


def _choose(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """Choose a protocol that a client offers: the first of ours. Who offers none of them goes on without."""
    # Twisted has put its protocol there.
    ours: Sequence[bytes] = connection.get_app_data().factory.wrappedFactory.acceptableProtocols()
    return next((each for each in ours if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
