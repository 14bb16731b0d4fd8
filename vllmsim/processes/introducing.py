# -*- test-case-name: tests.processes.test_introducing -*-
"""How the supervisor is let in by ranks that ask every client for a certificate: by one that it makes for itself.

Ranks are told to believe it, over the pipe by which they are told everything; nobody else has its key.
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vllmsim.config.endpoints import TLS_KINDS, endpoint_words
from vllmsim.listening import StartError, keyring_for

if TYPE_CHECKING:
    from vllmsim.tls.identities import Identity


def introduction(endpoints: Iterable[str], passphrase: str, reactor: Any) -> "Identity | None":
    """Try what ranks will listen with, so that what is wrong is said once, and make a certificate where they want one.

    :param endpoints: where they will listen, in Twisted's endpoint syntax.
    :param passphrase: that of their private keys.
    :return: None where none is wanted.
    :raises vllmsim.listening.StartError: when a certificate cannot be used.
    """
    every = [(endpoint, endpoint_words(endpoint)) for endpoint in endpoints]
    secure = [(endpoint, words) for endpoint, words in every if words.kind in TLS_KINDS]
    keyring = keyring_for([endpoint for endpoint, _ in secure], reactor, passphrase)
    if keyring is None:
        return None
    for endpoint, words in secure:
        try:
            keyring.endpoint(words.kind, words.positional, words.named)
        except ValueError as error:
            raise StartError(endpoint, error) from error
    if not keyring.asks:
        return None
    from vllmsim.tls.selfsigned import client_identity  # noqa: PLC0415 - most servers speak no TLS

    return client_identity(time.time())
