# -*- test-case-name: tests.config.test_exposure -*-
"""Whom a server lets do what: what is said at the start of one that others than its owner may turn."""

import re
from collections.abc import Iterable
from typing import Final

from vllmsim.config.endpoints import endpoint_arguments, endpoint_words
from vllmsim.config.schema import Configuration

_THIS_MACHINE: Final = re.compile(r"localhost|ip6-(?:localhost|loopback)|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
_ADMINISTRATION: Final = "/admin/config and the like (admin-api-key or admin-endpoint closes them)"
_APART: Final = "/admin/config and the like at admin-endpoint (admin-api-key closes them)"
_DEVELOPMENT: Final = "/pause, /sleep, /abort_requests and the like (server-dev-mode: false closes them)"


def exposure(configuration: Configuration) -> str:
    """Say what anyone may do who reaches the server; empty where nobody from elsewhere does, or nothing is open.

    Where there are keys, administrators should have one too, however near clients are.
    """
    c = configuration
    unguarded = not (c.admin_endpoint or c.admin_api_key)
    what = []
    if is_reached_from_elsewhere(c):
        what += [_ADMINISTRATION] * unguarded + [_DEVELOPMENT] * c.server_dev_mode
    if c.admin_endpoint and not c.admin_api_key and _is_administered_from_elsewhere(c):
        what.append(_APART)
    if what:
        where = "host: 127.0.0.1 serves this machine alone."
        return f"Whoever reaches this server from the network may use {', and '.join(what)}; {where}"
    if unguarded and (c.api_key or c.api_key_file or c.tenants):
        return "There are keys, and /admin/config and the like need none: anyone may change them. See admin-api-key."
    return ""


def is_reached_from_elsewhere(configuration: Configuration) -> bool:
    """Tell whether clients on other machines may be served; those that need a certificate are no strangers."""
    c = configuration
    hosts = []
    if c.listen:
        hosts += _interfaces(c.listen)
    elif not c.uds:
        hosts.append(c.host)
    if c.grpc_port is not None:
        hosts.append(c.host)
    return not _asks_for_certificates(c) and not _are_here(hosts)


def _is_administered_from_elsewhere(configuration: Configuration) -> bool:
    """Tell whether clients on other machines reach the endpoint that administrators have for themselves."""
    c = configuration
    if c.admin_endpoint.isdecimal():
        return not _asks_for_certificates(c) and not _are_here([c.host])
    return not _are_here(_interfaces(c.admin_endpoint))


def _asks_for_certificates(configuration: Configuration) -> bool:
    return configuration.speaks_tls and configuration.ssl_cert_reqs == 2  # noqa: PLR2004 - as OpenSSL counts


def _are_here(hosts: Iterable[str]) -> bool:
    return all(map(_THIS_MACHINE.fullmatch, hosts))


def _interfaces(endpoint: str) -> list[str]:
    """List the interfaces on which an endpoint lets in strangers from elsewhere; all of them are an empty one."""
    words = endpoint_words(endpoint)
    given = endpoint_arguments(words)
    if words.kind == "unix" or given.get("domain") == "UNIX" or given.get("verify") == "required":
        return []
    return [given.get("interface", "")]
