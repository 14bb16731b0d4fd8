"""Presets as the documentation shows them."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.presets.devices import DEVICES
from vllmsim.presets.listing import presets_tables
from vllmsim.presets.models import MODELS


class ListingTests(SynchronousTestCase):
    """The tables."""

    def test_rows(self) -> None:
        """Each preset is there with all its numbers, and with where they are from."""
        tables = presets_tables()
        self.check(tables["models.rst"], {name: preset.source for name, preset in MODELS.items()})
        self.check(tables["devices.rst"], {name: preset.source for name, preset in DEVICES.items()})
        self.assertIn("   * - ``l4``\n     - 121\n     - 300\n     - 32\n     - 242.5\n", tables["devices.rst"])

    def check(self, table: str, sources: dict[str, str]) -> None:
        """Look at the first and the last column of a table."""
        header, *rows = table.split("   * - ")[1:]
        names = [cell.strip() for cell in header.split("\n     -")]
        self.assertEqual(len(sources), len(rows))
        for row, (name, source) in zip(rows, sources.items(), strict=True):
            cells = dict(zip(names, [cell.strip() for cell in row.split("\n     -")], strict=True))
            self.assertEqual((f"``{name}``", source), (cells["preset"], cells["source"]))
