"""The soak, for some seconds: the same load and the same books as in an hour."""

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from tests.soak.report import report
from tests.soak.soak import Soak


class SoakTests(SynchronousTestCase):
    """A server under mixed load; `make soak` does it for an hour."""

    def test_soak(self) -> None:
        """Every request ends once and as both books say, events tell of the same blocks, and all comes to rest."""
        soak = Soak(make_folder(self), seconds=14, seed=7, rate=60)
        asyncio.run(soak.run())
        text, good = report(soak)
        self.assertTrue(good, text)
        for side in (soak.plain, soak.secure):
            self.assertGreater(side.books.settled, 20, text)
