"""Requests to servers of files."""

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as TwistedRefused
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived

from tests.downloading.fakeweb import Served, WebTestCase
from vllmsim.downloading.web import (
    Answer,
    DownloadError,
    PassingTrouble,
    Patience,
    Remote,
    WebClient,
    describe,
    plain_client,
)

FILE = Served(b"here")


class WebTests(WebTestCase):
    """Where requests go, and what goes with them."""

    def ask(self, url: str, token: str = "", **facts: Any) -> Deferred[Answer]:
        """Ask once."""
        return self.run_to_end(self.client.request("GET", Remote(url, token), {}, **facts), 1)

    def secrets(self) -> list[tuple[str, str | None]]:
        """List who was told what secret."""
        return [(where, headers.get("authorization")) for _, where, headers in self.web.asked]

    def test_redirected(self) -> None:
        """A redirect is followed to other servers, which are not told the token; nobody is told of the query."""
        self.web.files |= {
            "hub.test/a": (307, {"Location": "/b"}),
            "hub.test/b": (302, {"Location": "http://cdn.test/c?signature=1"}),
            "cdn.test/c": FILE,
        }
        answer = self.successResultOf(self.ask("http://hub.test/a", "secret"))
        self.assertEqual((200, "http://cdn.test/c?signature=1"), (answer.response.code, answer.url))
        told = [("hub.test/a", "Bearer secret"), ("hub.test/b", "Bearer secret"), ("cdn.test/c", None)]
        self.assertEqual(told, self.secrets())
        answer.drop()

    def test_other_port(self) -> None:
        """Another port, or another scheme, is another server."""
        for target in ("http://hub.test:81/b", "https://hub.test/b"):
            self.web.asked.clear()
            self.web.files = {"hub.test/a": (302, {"Location": target}), "hub.test:81/b": FILE, "hub.test/b": FILE}
            self.successResultOf(self.ask("http://hub.test/a", "secret")).drop()
            self.assertEqual([True, False], [bool(secret) for _, secret in self.secrets()])

    def test_not_elsewhere(self) -> None:
        """The answer that leads to another server can be had itself."""
        self.web.files |= {
            "hub.test/a": (301, {"Location": "/b"}),
            "hub.test/b": (302, {"Location": "http://cdn.test/c", "X-Repo-Commit": "abc"}),
        }
        answer = self.successResultOf(self.ask("http://hub.test/a", elsewhere=False))
        self.assertEqual((302, "abc"), (answer.response.code, answer.header("x-repo-commit")))
        answer.drop()

    def test_circle(self) -> None:
        """Redirects in a circle are followed a few times."""
        self.web.files["hub.test/a"] = (302, {"Location": "/a"})
        failure = self.failureResultOf(self.ask("http://hub.test/a"), DownloadError)
        self.assertEqual("http://hub.test/a leads nowhere: 10 redirects were followed", failure.getErrorMessage())
        self.assertEqual(11, len(self.web.asked))

    def test_bad_address(self) -> None:
        """What is no address of a web server is an error, also behind a redirect."""
        for url in (
            "ftp://hub.test/a",
            "nonsense",
            "http://",
            "http://hub.test:99999/",
            "http://[/",
            "file:///etc/passwd",
        ):
            self.failureResultOf(self.ask(url), DownloadError)
            self.assertEqual([], self.web.asked)
        self.web.files["hub.test/a"] = (302, {"Location": "http://[/"})
        self.failureResultOf(self.ask("http://hub.test/a"), DownloadError)
        self.web.files["hub.test/a"] = (302, {"Location": "file:///etc/passwd"})
        failure = self.failureResultOf(self.ask("http://hub.test/a"), DownloadError)
        self.assertEqual("'file:///etc/passwd' is no address of http or https", failure.getErrorMessage())

    def test_password(self) -> None:
        """A name and a password in an address are sent, to its server alone, and never shown."""
        self.web.files |= {"hub.test/a": (302, {"Location": "http://cdn.test/c"}), "cdn.test/c": FILE}
        self.successResultOf(self.ask("http://me:p%40ss@hub.test/a")).drop()
        self.assertEqual([("hub.test/a", "Basic bWU6cEBzcw=="), ("cdn.test/c", None)], self.secrets())
        self.assertEqual("http://hub.test/a", str(Remote("http://me:p@hub.test/a?key=1#x")))
        for url in ("http://me:secret@hub.test:x/", "ftp://me:secret@hub.test/", "http://me:secret@[/"):
            self.assertNotIn("secret", str(self.failureResultOf(self.ask(url), DownloadError).value))
        self.assertNotIn("secret", repr(Remote("http://me:secret@hub.test/a", "secret")))

    def test_no_connection(self) -> None:
        """No connection, and no such host, are troubles that may pass."""
        errors: list[Exception] = []

        class Agent:
            def request(self, *_: Any) -> Deferred[Any]:
                return fail(errors.pop())

        client = WebClient(self.clock, plain_client(Agent()))  # type: ignore[arg-type]
        for error in (
            TwistedRefused("refused"),
            DNSLookupError("no host"),
            ResponseNeverReceived([Failure(OSError(5, "x"))]),
        ):
            errors.append(error)
            work = Deferred.fromCoroutine(client.request("GET", Remote("http://hub.test/"), {}))
            failure = self.failureResultOf(work, PassingTrouble)
            self.assertIn("no answer from http://hub.test/: ", failure.getErrorMessage())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_words(self) -> None:
        """What went wrong is said in a few words, also by errors that have none."""
        self.assertEqual("ValueError", describe(ValueError()))
        self.assertEqual("x" * 200, describe(ValueError("x" * 1000)))

    def test_patience(self) -> None:
        """What is no passing trouble is not tried again."""
        tries = []

        async def attempt() -> None:
            tries.append(1)
            raise DownloadError("no")

        self.failureResultOf(Deferred.fromCoroutine(Patience(self.clock).insist(attempt)), DownloadError)
        self.assertEqual([1], tries)
