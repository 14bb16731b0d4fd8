"""What there is, written for people."""

from twisted.trial.unittest import SynchronousTestCase

from tests.dropins import drop_in
from vllmsim.config.pluginnames import CALCULATORS, MODES, PUBLISHERS
from vllmsim.interfaces.plugins import (
    IBlockEventPublisherFactory,
    IFactory,
    ILatencyModelFactory,
    IResponseSourceFactory,
)
from vllmsim.plugins.listing import plugins_text
from vllmsim.plugins.ours import OURS
from vllmsim.plugins.registry import SEAMS


class ListingTests(SynchronousTestCase):
    """``--help-plugins``."""

    def test_ours(self) -> None:
        """Everything of ours is there with what it is for, and what has nothing says so."""
        text = plugins_text()
        for names in OURS.values():
            for name, help_ in names.items():
                self.assertIn(f"  {name}\n        {help_}\n", text)
        self.assertIn("Failures (--failure-plugins NAME ...):\n  none\n", text)
        self.assertNotIn("Broken", text)

    def test_same(self) -> None:
        """The names of ours are those that options take."""
        self.assertEqual([*SEAMS], [*OURS])
        expected: dict[type[IFactory], tuple[str, ...]] = {
            IResponseSourceFactory: MODES,
            ILatencyModelFactory: tuple(filter(None, CALCULATORS)),
            IBlockEventPublisherFactory: PUBLISHERS,
        }
        for seam, names in expected.items():
            self.assertEqual(names, tuple(OURS[seam]))

    def test_others(self) -> None:
        """Plugins are there with their files, and so is what cannot be used."""
        path = drop_in(
            self,
            good='good = offer(ILatencyModelFactory, "good", None)\ntwin = offer(IFailureFactory, "twin", None)',
            twin='twin = offer(IFailureFactory, "twin", None)\nodd = implementer(IPlugin)(type("O", (), {}))()',
            bad="1 / 0",
        )
        text = plugins_text()
        self.assertIn(f"  good\n        Is made for a test.\n        from {path}/good.py\n", text)
        twin = "  twin (cannot be used: more than one has this name)\n        Is made for a test.\n        from"
        self.assertIn(f"{twin} {path}/good.py\n{twin} {path}/twin.py\n", text)
        self.assertIn(f"\nBroken:\n  {path}/bad.py: ZeroDivisionError", text)
        self.assertIn(f"  {path}/twin.py: odd is a plugin, and no factory of any kind\n", text)
