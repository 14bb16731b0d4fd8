"""Tests for :mod:`vllmsim.config.live`."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration

OLD, NEW = Configuration(max_num_seqs=1), Configuration(max_num_seqs=2)


class LiveConfigurationTests(SynchronousTestCase):
    """One configuration holds at a time."""

    def test_swap(self) -> None:
        """Who watches hears of a swap when the new configuration holds already."""
        live, heard = LiveConfiguration(OLD), []
        live.watch(lambda old, new: heard.append((old, new, live.current)))
        live.swap(NEW)
        self.assertEqual([(OLD, NEW, NEW)], heard)

    def test_follow(self) -> None:
        """What is made of the configuration is made once for each."""
        live, made = LiveConfiguration(OLD), []

        def make(configuration: Configuration) -> int:
            made.append(configuration)
            return configuration.max_num_seqs

        slots = live.follow(make)
        self.assertEqual([1, 1], [slots(), slots()])
        live.swap(NEW)
        self.assertEqual([2, 2], [slots(), slots()])
        self.assertEqual([OLD, NEW], made)
