# -*- test-case-name: tests.web.middleware.test_requestids -*-
"""Request ids: every answer says which request it is of."""

import uuid

from attrs import frozen
from zope.interface import implementer

from vllmsim.interfaces import IExchange, IMiddleware


@implementer(IMiddleware)
@frozen
class RequestIds:
    """Sends ``X-Request-Id`` with every answer: the request's own, or a new one."""

    def begin(self, exchange: IExchange) -> None:
        """Name the answer."""
        told = exchange.header("x-request-id")
        exchange.setHeader(b"X-Request-Id", told.encode("latin-1") if told else uuid.uuid4().hex.encode())

    def end(self, exchange: IExchange) -> None:
        """Have nothing to do."""
