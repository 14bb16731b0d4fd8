"""The requests that are in."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.errors import Unavailable
from vllmsim.scheduling.openrequests import OpenRequests


class OpenRequestsTests(SynchronousTestCase):
    """Waiting for their end."""

    def setUp(self) -> None:
        """Have two requests in."""
        self.requests = OpenRequests()
        self.first: Deferred[int] = Deferred()
        self.second: Deferred[int] = Deferred()
        self.results = [self.requests.add(self.first), self.requests.add(self.second)]

    def test_drain(self) -> None:
        """A rank is drained when the last request has ended, however it did."""
        drained = [self.requests.drain(), self.requests.drain()]
        self.first.callback(1)
        self.assertNoResult(drained[0])
        self.second.errback(ValueError())
        self.assertEqual(1, self.successResultOf(self.results[0]))
        self.failureResultOf(self.results[1], ValueError)
        for each in (*drained, self.requests.drain()):
            self.successResultOf(each)

    def test_dismiss(self) -> None:
        """Requests that are dismissed fail with what their clients should be told."""
        self.requests.dismiss()
        for result in self.results:
            self.failureResultOf(result, Unavailable)
        self.successResultOf(self.requests.drain())

    def test_cancel(self) -> None:
        """A request whose client is gone is cancelled like any."""
        self.results[0].cancel()
        self.failureResultOf(self.results[0], CancelledError)
        self.assertNoResult(self.requests.drain())
        self.second.callback(2)
        self.successResultOf(self.results[1])
