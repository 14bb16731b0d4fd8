# -*- test-case-name: tests.config.test_schema -*-
"""Who may call, and how what they say is kept secret."""

from typing import Final

from attrs import frozen

from vllmsim.config.kinds import Flag, Parsed, Text
from vllmsim.config.option import option


def _parse_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError
    return tuple(value)


_TEXTS: Final = Parsed(_parse_texts, list, "a JSON list of texts")


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class AccessOptions:
    """Who may call, and how what they say is kept secret. Durations are seconds."""

    # fmt: off
    allowed_origins: tuple[str, ...] = option("access", _TEXTS, (),
        'Origins whose pages may call from browsers; ["*"] for all.', live=True)
    allowed_methods: tuple[str, ...] = option("access", _TEXTS, ("*",),
        "Methods that they may use.", live=True)
    allowed_headers: tuple[str, ...] = option("access", _TEXTS, ("*",),
        "Headers that they may send.", live=True)
    allow_credentials: bool = option("access", Flag(), False,
        "Let them send cookies and other credentials.", live=True)
    admin_endpoint: str = option("access", Text(), "",
        "Where the routes for administrators are instead of at each rank's port: a port, or a Twisted endpoint such as"
        " unix:/run/vllmsim.sock; each further rank has the next port, or its number for {rank}.")
    admin_api_key: str = option("access", Text(), "",
        "Key that they ask for, as Authorization: Bearer KEY; none if empty.",
        environment="VLLMSIM_ADMIN_API_KEY", secret=True)

    ssl_certfile: str = option("tls", Text(), "",
        "PEM file of the certificate; with it the server speaks TLS.")
    ssl_keyfile: str = option("tls", Text(), "",
        "PEM file of its private key.")
    self_signed_certs: bool = option("tls", Flag(), False,
        "Speak TLS with a certificate made at the start.", acts=False)
    # fmt: on
