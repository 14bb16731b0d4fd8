# -*- test-case-name: tests.web.middleware.test_accesslog -*-
"""The access log: a line for each request, in the form of uvicorn's, when its answer is written or its client gone."""

import re
from collections.abc import Collection
from http import HTTPStatus
from typing import ClassVar, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.interfaces import IExchange, IMiddleware
from vllmsim.secrecy import open_target

_LONGEST: Final = 2048
_LONGEST_ID: Final = 128
_PLAIN: Final = re.compile(rb"[^!#-~]")
"""What could be taken for something else in a line of the log: control characters, blanks, quotes, and other bytes."""
_PHRASES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


def _shown(target: bytes) -> str:
    """Write a target so that nothing in it can be taken for anything else, and without what is called like a secret."""
    shown = _PLAIN.sub(lambda match: b"%%%02X" % match[0][0], target[:_LONGEST]).decode("ascii")
    return f"{open_target(shown)}..." if len(target) > _LONGEST else open_target(shown)


def _outcome(status: int, verdict: str | None) -> str:
    """Say how an exchange went; of a call the status over HTTP says little."""
    if not status:
        return "- client has left"
    told = _PHRASES.get(status, str(status))
    return told if verdict in {None, "OK"} else f"{told}, {verdict}"


@implementer(IMiddleware)
@define(eq=False)
class AccessLog:
    """Logs requests.

    :param left_out: paths whose requests are not logged.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _left_out: Collection[bytes] = ()
    _begun: dict[IExchange, float] = field(init=False, factory=dict)

    def begin(self, exchange: IExchange) -> None:
        """Remember when a request came."""
        if exchange.path not in self._left_out:
            self._begun[exchange] = self._clock.seconds()

    def end(self, exchange: IExchange) -> None:
        """Log it."""
        begun = self._begun.pop(exchange, None)
        if begun is None:
            return
        status = exchange.status
        request_id = exchange.request_id
        self._log.info(
            '{peer} - "{method} {target} {version}" {outcome}',
            peer=exchange.peer,
            method=exchange.method.decode("ascii", "replace"),
            target=_shown(exchange.uri),
            version=exchange.version,
            outcome=_outcome(status, exchange.verdict),
            status=status,
            verdict=exchange.verdict,
            duration=self._clock.seconds() - begun,
            tenant=exchange.tenant,
            request_id=None if request_id is None else _shown(request_id.encode("latin-1", "replace")[:_LONGEST_ID]),
        )
