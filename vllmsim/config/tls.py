# -*- test-case-name: tests.config.test_tls -*-
"""What the options of TLS must satisfy together, and where a server listens."""

import re
from typing import Final

from vllmsim.config.endpoints import endpoint_fault
from vllmsim.config.rankrules import Rule
from vllmsim.config.schema import Configuration

_FURTHER: Final = ("ssl_keyfile_password", "ssl_ca_certs", "ssl_cert_reqs", "ssl_ciphers", "self_signed_cert_file")
"""Options that say more about TLS where it is spoken."""
_UNKNOWN: Final = re.compile(r"\{(?!(?:port|rank)\})[^{}]*\}")


def _one_endpoint(c: Configuration) -> str | None:
    more = c.listen and (c.uds or c.host or c.speaks_tls)
    return "says all about the endpoint: it goes with no host, uds or certificate" if more else None


def _filled_in(c: Configuration) -> str | None:
    unknown = _UNKNOWN.search(c.listen)
    if unknown:
        return f"{unknown[0]} is not known; there are {{port}} and {{rank}}"
    filled = (c.listen.replace("{port}", str(c.port_of(rank))).replace("{rank}", str(rank)) for rank in c.ranks)
    return next(filter(None, map(endpoint_fault, filled)), None) if c.listen else None


def _plain_socket(c: Configuration) -> str | None:
    return "speaks no TLS: it goes with no certificate" if c.uds and c.speaks_tls else None


def _key_pair(c: Configuration) -> str | None:
    return "goes together with ssl-certfile" if c.ssl_keyfile and not c.ssl_certfile else None


def _one_certificate(c: Configuration) -> str | None:
    return "goes with neither ssl-certfile nor ssl-keyfile" if c.self_signed_certs and c.ssl_certfile else None


def _authorities(c: Configuration) -> str | None:
    missing = c.speaks_tls and c.ssl_cert_reqs and not c.ssl_ca_certs
    return "needs ssl-ca-certs, which clients' certificates must come from" if missing else None


def _own_file(c: Configuration) -> str | None:
    shared = c.self_signed_certs and c.data_parallel_processes and "{rank}" not in c.self_signed_cert_file
    if not (shared and c.self_signed_cert_file and len(c.ranks) > 1):
        return None
    return f"each rank's process has a certificate of its own: put {{rank}} in {c.self_signed_cert_file!r}"


TLS_RULES: Final[tuple[Rule, ...]] = (
    (("listen", "uds", "host", "ssl-certfile", "self-signed-certs"), _one_endpoint),
    (("listen",), _filled_in),
    (("uds", "ssl-certfile", "self-signed-certs"), _plain_socket),
    (("ssl-keyfile", "ssl-certfile"), _key_pair),
    (("self-signed-certs", "ssl-certfile"), _one_certificate),
    (("ssl-cert-reqs", "ssl-ca-certs", "ssl-certfile", "self-signed-certs"), _authorities),
    (("self-signed-cert-file", "self-signed-certs", "data-parallel-processes"), _own_file),
)


def tls_doubt(configuration: Configuration) -> str:
    """Say in a sentence that options of TLS have no effect; empty if they have, or are not set."""
    c = configuration
    given = [name for name in _FURTHER if getattr(c, name)]
    if any(endpoint.startswith("reloadingtls:") for endpoint in (c.listen, c.admin_endpoint)):
        given = [name for name in given if name != "ssl_keyfile_password"]
    if not c.speaks_tls:
        idle, why = given, "without ssl-certfile or self-signed-certs"
    elif c.self_signed_certs:
        idle, why = [name for name in given if name == "ssl_keyfile_password"], "with self-signed-certs"
    else:
        idle, why = [name for name in given if name == "self_signed_cert_file"], "without self-signed-certs"
    if idle:
        return f"{', '.join(idle).replace('_', '-')} {'has' if len(idle) == 1 else 'have'} no effect {why}."
    if c.speaks_tls and c.ssl_ca_certs and not c.ssl_cert_reqs:
        return "ssl-ca-certs has no effect while ssl-cert-reqs is 0: no client is asked for a certificate."
    return ""
