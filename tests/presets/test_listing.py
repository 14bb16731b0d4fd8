"""Presets as the documentation shows them."""

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.presets.devices import DEVICES, DevicePreset
from vllmsim.presets.listing import presets_tables
from vllmsim.presets.models import MODELS, ModelPreset


class ListingTests(SynchronousTestCase):
    """The tables."""

    def test_rows(self) -> None:
        """Each preset is there with all its numbers, and with where they are from."""
        tables = presets_tables()
        presets: Mapping[str, ModelPreset] | Mapping[str, DevicePreset]
        for file in tables:
            presets = MODELS if file == "models.rst" else DEVICES
            header, *rows = tables[file].split("   * - ")[1:]
            names = [cell.strip() for cell in header.split("\n     -")]
            self.assertEqual(len(presets), len(rows))
            for row, (name, preset) in zip(rows, presets.items(), strict=True):
                cells = dict(zip(names, [cell.strip() for cell in row.split("\n     -")], strict=True))
                self.assertEqual((f"``{name}``", preset.source), (cells["preset"], cells["source"]))
        self.assertIn("   * - ``l4``\n     - 121\n     - 300\n     - 32\n     - 242.5\n", tables["devices.rst"])
