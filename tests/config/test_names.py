"""Names of options."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.arguments import scan
from vllmsim.config.names import complete, find, long_names, suggest


class NameTests(SynchronousTestCase):
    """What a name means."""

    def meaning(self, name: str) -> tuple[str, bool] | None:
        """Look a name up."""
        found = find(name)
        return (found.option.name, found.negated) if found else None

    def test_spellings(self) -> None:
        """Hyphens and underscores are the same; switches have all their opposites."""
        self.assertEqual(("max-num-seqs", False), self.meaning("max_num-seqs"))
        for name in ("disable-prefix-caching", "no-enable-prefix-caching"):
            self.assertEqual(("enable-prefix-caching", True), self.meaning(name))
        self.assertEqual(("enable-prefix-caching", False), self.meaning("no-disable-prefix-caching"))
        self.assertEqual(("disable-log-stats", True), self.meaning("enable-log-stats"))
        self.assertEqual(("omni", True), self.meaning("no-omni"))
        self.assertEqual(("gpu-memory-utilization", False), self.meaning("device-memory-utilization"))
        self.assertIsNone(self.meaning("no-port"))

    def test_abbreviations(self) -> None:
        """An abbreviation may mean one flag, several, or none."""
        self.assertEqual(["max-num-seqs"], complete("max-num-se"))
        self.assertEqual({"max-num-queued-reqs", "max-num-queued-tokens"}, set(complete("max_num_queued")))
        self.assertEqual([], complete("xyz"))

    def test_every_abbreviation(self) -> None:
        """No beginning of any flag makes trouble."""
        names = sorted(long_names())
        for prefix in {name[:length] for name in names for length in range(len(name) + 1)}:
            for word in (f"--{prefix}", f"--{prefix}=5", f"--{prefix}.x"):
                scan([word, "1"])

    def test_suggestions(self) -> None:
        """A wrong name has the nearest right one suggested, if there is one near."""
        self.assertEqual("max-num-seqs", suggest("max_nun_seqs"))
        self.assertIsNone(suggest("qqqqqq"))
