"""A daemon that nobody asked how it is."""

from twisted.application.service import IServiceCollection, MultiService
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.announcing import Announcer, Load


class AnnouncerTests(SynchronousTestCase):
    """Where nobody is told."""

    def test_nobody(self) -> None:
        """The daemon does what it does, and nothing more."""
        announcer, services = Announcer(), MultiService()
        announcer.join(IServiceCollection(services))
        announcer.preparing("something")
        announcer.ready(Load)
        announcer.stopping("after all")
        self.assertEqual(([], 0.0), (services.services, announcer.interval))

    def test_reload(self) -> None:
        """The configuration is read again when somebody wants that."""
        waiting: Deferred[bool] = Deferred()
        asked: list[str] = []

        def reload(who: str) -> Deferred[bool]:
            asked.append(who)
            return waiting

        self.assertIs(waiting, Announcer().reload(reload, "SIGHUP"))
        self.assertEqual(["SIGHUP"], asked)
