"""Devices that are known."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.presets.devices import DEVICES


class DeviceTests(SynchronousTestCase):
    """The table."""

    def test_possible(self) -> None:
        """Each row says where it is from, and FP8 is twice as fast where there is any: nobody counts zeros."""
        for name, preset in DEVICES.items():
            with self.subTest(name):
                self.assertRegex(preset.source, r"^(NVIDIA|AMD) data sheet, https://www\.(nvidia|amd)\.com/")
                if preset.shape.fp8_tflops:
                    self.assertApproximates(2.0, preset.shape.fp8_tflops / preset.shape.tflops, 0.03)
                # Operations for each byte that is read: from some hundred to some four hundred, on all of them.
                self.assertTrue(100 < preset.shape.tflops * 1000 / preset.shape.bandwidth < 450, name)
