# -*- test-case-name: tests.downloading.test_web -*-
"""Requests to servers of files, over HTTP/1.1.

Redirects are followed by hand, because two things depend on where they lead: a token is a secret between the user and
one server, which no other may see; and a hub tells of a file in the answer that sends its readers elsewhere. Answers
are asked for as they are, since a part of a compressed answer cannot be continued.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

if TYPE_CHECKING:
    from treq.client import HTTPClient

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 10
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of servers that may have more to give a little later."""
NO_ANSWER: Final = (
    ResponseFailed, RequestTransmissionFailed, ConnectError, ConnectionLost, DNSLookupError, DeferredTimeoutError,
    OSError,
)  # fmt: skip
"""What a request may fail with when no answer comes."""
_CONNECT_TIMEOUT: Final = 20.0
_ANSWER_TIMEOUT: Final = 60.0
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try."""
_MAX_PAUSE: Final = 60.0
_MAX_SHOWN: Final = 200


class DownloadError(Exception):
    """Something cannot be had from the web; its text is one sentence for the log."""


class PassingTrouble(DownloadError):
    """Something cannot be had now, and may be a little later.

    :param pause: seconds after which the server wants to be asked again, if it says so.
    """

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


class Refused(DownloadError):
    """A server does not give what it is asked for.

    :param status: the status of its answer.
    :param headers: the answer's headers.
    """

    def __init__(self, message: str, status: int, headers: Headers) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@frozen
class Remote:
    """Something on the web.

    :param url: its address; a name and a password before the host are sent as such.
    :param token: a bearer token for the server that the address names, and for no other.
    """

    url: str = field(repr=False)
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Show the address without what may be secret in it."""
        return _shown(urlsplit(self.url))


@frozen(eq=False)
class Answer:
    """A response whose body is not read.

    :param url: where it came from, after redirects.
    """

    url: str
    response: IResponse

    def header(self, name: str) -> str | None:
        """Look up a header's last value."""
        values = self.response.headers.getRawHeaders(name)
        return values[-1].strip() if values else None

    def drop(self) -> None:
        """Close the connection without reading the body."""
        self.response.deliverBody(_Dropped())


class _Dropped(Protocol):
    def connectionMade(self) -> None:
        hang_up(self)


def hang_up(protocol: Protocol) -> None:
    """Close the connection that brings a response's body."""
    if protocol.transport is not None:
        protocol.transport.loseConnection()


@implementer(IAgent)
@frozen
class _PlainAgent:
    """Asks for bytes as they are, whatever treq asks for."""

    agent: IAgent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Any:
        plain = Headers() if headers is None else headers.copy()
        plain.setRawHeaders("Accept-Encoding", ["identity"])
        return self.agent.request(method, uri, plain, bodyProducer)


def plain_client(agent: IAgent) -> "HTTPClient":
    """Make a client of an agent."""
    # It takes a tenth of a second, which a start without downloads can do without.
    from treq.client import HTTPClient  # noqa: PLC0415

    return HTTPClient(_PlainAgent(agent))


def web_client(reactor: Any) -> "WebClient":
    """Make what asks servers anywhere."""
    from twisted.web.client import Agent  # noqa: PLC0415

    return WebClient(reactor, plain_client(Agent(reactor, connectTimeout=_CONNECT_TIMEOUT)))


@define(eq=False)
class WebClient:
    """Asks servers of files.

    :param clock: tells when to wait no longer.
    :param client: sends requests.
    """

    clock: IReactorTime
    _client: "HTTPClient"

    async def request(
        self, method: str, remote: Remote, headers: Mapping[str, str], *, elsewhere: bool = True
    ) -> Answer:
        """Ask once.

        :param elsewhere: whether to follow redirects that name a server too, and not a path alone.
        :return: the first answer that is no redirect, or is one that is not followed; its body is to be read or
            dropped.
        :raises PassingTrouble: when there is no answer, or the server has none to give now.
        :raises DownloadError: when the address or a redirect is none.
        """
        url, home = remote.url, _origin(remote.url)
        for _ in range(_MAX_REDIRECTS + 1):
            here = _origin(url)
            secret = _authorization(urlsplit(url), remote.token if here == home else "")
            answer = Answer(url, await self._ask(method, url, {**headers, **secret}))
            target = answer.header("Location") if answer.response.code in _REDIRECTS else None
            if target is None:
                return self._checked(answer)
            if not elsewhere and (not target.startswith("/") or target.startswith("//")):
                return answer
            url = _joined(url, target)
            answer.drop()
        raise DownloadError(f"{remote} leads nowhere: {_MAX_REDIRECTS} redirects were followed")

    async def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> IResponse:
        shown = _shown(urlsplit(url))
        try:
            asked = self._client.request(
                method,
                _without_credentials(urlsplit(url)),
                headers=Headers({name: [value] for name, value in {"User-Agent": "vllmsim", **headers}.items()}),
                allow_redirects=False,
                unbuffered=True,
                reactor=self.clock,  # type: ignore[arg-type]
            )
            response: IResponse = await asked.addErrback(uncover).addTimeout(_ANSWER_TIMEOUT, self.clock)
        except NO_ANSWER as error:
            raise PassingTrouble(f"no answer from {shown}: {describe(error)}") from error
        except (ValueError, UnicodeError) as error:
            raise DownloadError(f"{shown} is no address that can be asked: {error}") from error
        return response

    def _checked(self, answer: Answer) -> Answer:
        status = answer.response.code
        if status in _PASSING:
            answer.drop()
            wait = answer.header("Retry-After") or ""
            pause = min(float(wait), _MAX_PAUSE) if wait.isdecimal() else None
            raise PassingTrouble(f"{_shown(urlsplit(answer.url))} answers with status {status}", pause)
        return answer


@define(eq=False)
class Patience:
    """Tries again a few times.

    :param clock: tells when.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _tries: int = field(init=False, default=0)

    async def insist(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """Try until it works.

        :raises DownloadError: when it cannot work, or has not worked some times.
        """
        while True:
            try:
                return await attempt()
            except PassingTrouble as trouble:
                if self._tries == len(_PAUSES):
                    raise DownloadError(f"{trouble}, after {self._tries + 1} tries") from trouble
                pause = _PAUSES[self._tries] if trouble.pause is None else trouble.pause
                self._tries += 1
                self._log.warn("{trouble}; trying again in {pause} s.", trouble=trouble, pause=pause)
                await deferLater(self._clock, pause)

    def renew(self) -> None:
        """Begin to count anew, as something has been got."""
        self._tries = 0


def uncover(reason: Failure) -> Failure:
    """Find what a client has wrapped: that its request was cancelled."""
    error = reason.value
    inner = error.reasons if isinstance(error, ResponseFailed | RequestTransmissionFailed) else [reason]
    if any(each.check(CancelledError, ConnectingCancelledError) for each in inner):
        return Failure(CancelledError())
    return reason


def describe(error: BaseException | None) -> str:
    """Say in a few words why a request has failed."""
    if isinstance(error, ResponseFailed | RequestTransmissionFailed) and error.reasons:
        return describe(error.reasons[0].value)
    if isinstance(error, DeferredTimeoutError):
        return f"nothing came for {_ANSWER_TIMEOUT:g} s"
    return (str(error) or type(error).__name__).rstrip(".")[:_MAX_SHOWN]


def _origin(url: str) -> tuple[str, str, int]:
    """Find out which server an address names.

    :raises DownloadError: when it names none that speaks HTTP.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DownloadError(f"{url.rpartition('@')[2][:_MAX_SHOWN]!r} is no address: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise DownloadError(f"{_shown(parts)!r} is no address of http or https")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _joined(url: str, target: str) -> str:
    """Find out where a redirect leads.

    :raises DownloadError: when it leads to no address.
    """
    try:
        return urljoin(url, target)
    except ValueError as error:
        raise DownloadError(f"a redirect leads to {target[:_MAX_SHOWN]!r}, which is no address: {error}") from None


def _shown(parts: SplitResult) -> str:
    """Write an address without what may be secret: a password, and the query, which may be a signature."""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))[:_MAX_SHOWN]


def _without_credentials(parts: SplitResult) -> str:
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))


def _authorization(parts: SplitResult, token: str) -> dict[str, str]:
    if token:
        return {"Authorization": f"Bearer {token}"}
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
