# -*- test-case-name: tests.test_tap -*-
"""What the log says first: what will not be as it seems, and what is open to everybody."""

from collections.abc import Mapping

from twisted.logger import Logger

from vllmsim.config.exposure import exposure
from vllmsim.config.loading import Loaded
from vllmsim.config.schema import Configuration

_log = Logger()


def name_doubts(loaded: Loaded, environ: Mapping[str, str]) -> None:
    """Name options without effect, others that contradict each other, and sockets that were passed for nothing."""
    for option, origin in loaded.idle:
        _log.warn("{option} ({origin}) is accepted and has no effect.", option=option.name, origin=origin)
    for doubt in loaded.doubts:
        _log.warn("{doubt}", doubt=doubt)
    if exposed := exposure(loaded.configuration):
        _log.warn("{exposed}", exposed=exposed)
    if "LISTEN_FDNAMES" in environ:
        _name_unserved(loaded.configuration, environ)


def _name_unserved(c: Configuration, environ: Mapping[str, str]) -> None:
    from vllmsim.identity import admin_endpoint_of, endpoint_of  # noqa: PLC0415 - few servers are passed a socket
    from vllmsim.systemd.sockets import unserved  # noqa: PLC0415

    endpoints = [endpoint_of(c, rank) for rank in c.ranks]
    endpoints += [each for each in (admin_endpoint_of(c, rank) for rank in c.ranks) if each is not None]
    for name in unserved(endpoints, environ):
        _log.warn("Nobody serves the socket {name!r}, which systemd has passed; see the option listen.", name=name)
