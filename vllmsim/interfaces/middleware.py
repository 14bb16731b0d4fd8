# -*- test-case-name: tests.web.middleware.test_chain -*-
"""What stands between clients and routes, and sees every exchange."""

from collections.abc import Awaitable, Callable

from zope.interface import Attribute, Interface


class IExchange(Interface):
    """One request and its answer, as a middleware sees them. Bytes are as they were sent, and may be anything."""

    method = Attribute("bytes: the method.")
    uri = Attribute("bytes: the target: path and query string.")
    path = Attribute("bytes: the path, without the root path that a proxy may have put before it.")
    route = Attribute("str: the template of the route that will answer; ``none`` if there is none.")
    peer = Attribute("str: where the client is: address and port, or ``unix`` where that has none.")
    version = Attribute("str: the version of HTTP that the client speaks, such as ``HTTP/1.1``.")
    body = Attribute("bytes: the body; empty for one that is above the limit, which nobody answers.")
    dialect = Attribute("str: ``anthropic`` or ``openai``: how the route's clients are told of errors and limits.")
    inference = Attribute("bool: whether the route is one for which a model computes something.")
    tenant = Attribute("str | None: whose client it is, if that is known. Who knows it sets it.")
    request_id = Attribute("str | None: what the answer is called in ``X-Request-Id``, or the request, if either is.")
    received_headers = Attribute("Sequence[tuple[bytes, bytes]]: all headers of the request, in their order.")
    answered_headers = Attribute("list[tuple[bytes, bytes]]: the headers of the answer, as far as they are known.")
    answered_body = Attribute("bytes | None: the body of an answer that was kept; None for one in pieces, or for none.")
    gone = Attribute("bool: whether the client has left.")
    status = Attribute("int: the status of the answer; 0 as long as nothing is written.")
    verdict = Attribute("str | None: how a call of gRPC went, such as ``NOT_FOUND``; None before, and for HTTP.")

    def header(name: str) -> str | None:
        """Look up a header of the request by its name in any case; the last of several."""

    def headers(name: str) -> list[str]:
        """List the headers of the request that have a name, in any case, in their order."""

    def when_used(callback: Callable[[int], object]) -> None:
        """Have somebody told how many tokens were computed, of prompts and answers, when all work is over.

        That is at the end of the exchange, or later if something goes on in the background. It may be said in
        :meth:`IMiddleware.begin` alone.
        """

    def keep_answer() -> None:
        """Have the body of the answer kept, for :meth:`IMiddleware.end` to see, unless it comes in pieces."""

    def setHeader(name: bytes, value: bytes) -> None:
        """Set a header of the answer, whoever gives it, in the place of one of that name."""

    def answer(status: int, body: bytes, content_type: bytes | None = ...) -> None:
        """Answer, so that nobody further in sees the exchange. No more than once, and in :meth:`IMiddleware.begin`.

        :param content_type: JSON unless given; None for an answer that does not say.
        """


class IMiddleware(Interface):
    """Sees exchanges before their routes do, and when they are over. One serves all exchanges of a rank."""

    def begin(exchange: IExchange) -> Awaitable[object] | None:
        """See a request, whose body is there, before the next one further in does. It may set headers of the answer.

        :return: None, or what the others and the route wait for; it is cancelled when the client leaves meanwhile.
        :raises vllmsim.errors.InferenceError: to refuse the request, in the words that its route has for errors. It
            may come from what is waited for as well. Any other error is logged, and the client is answered 500.
        """

    def end(exchange: IExchange) -> None:
        """See that an exchange is over: the answer is written, or the client has gone, or nobody answers any more.

        Called once for each exchange that :meth:`begin` was called with, also where that has raised or was cancelled;
        the innermost is called first. Errors are logged.
        """


class IDoorkeeper(IMiddleware):
    """A middleware that refuses requests for what their heads say, so that nobody need send a body in vain."""

    def admits(exchange: IExchange) -> bool:
        """Tell whether :meth:`begin` will let a request pass, of which nothing is there but the head."""
