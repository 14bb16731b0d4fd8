# -*- test-case-name: tests.presets.test_devices -*-
"""Common devices. Each row says whose data sheet its numbers are from.

Data sheets like to count operations on sparse matrices; those here are half of that. Where a sheet names what a link
carries in both directions together, here is half of that too.
"""

from typing import Final

from attrs import frozen

from vllmsim.shapes import DeviceShape


@frozen
class DevicePreset:
    """A device.

    :param source: whose numbers these are.
    """

    shape: DeviceShape
    source: str


def _nvidia(sheet: str, **numbers: float) -> DevicePreset:
    return DevicePreset(DeviceShape(**numbers), f"NVIDIA data sheet, https://www.nvidia.com/en-us/data-center/{sheet}")


# fmt: off
DEVICES: Final[dict[str, DevicePreset]] = {
    "a10": _nvidia("products/a10-gpu/", tflops=125.0, bandwidth=600.0, link=32.0, memory=24.0),
    "l4": _nvidia("l4/", tflops=121.0, fp8_tflops=242.5, bandwidth=300.0, link=32.0, memory=24.0),
    "l40s": _nvidia("l40s/", tflops=362.0, fp8_tflops=733.0, bandwidth=864.0, link=32.0, memory=48.0),
    "a100-40gb": _nvidia("a100/", tflops=312.0, bandwidth=1555.0, link=300.0, memory=40.0),
    "a100-80gb": _nvidia("a100/", tflops=312.0, bandwidth=2039.0, link=300.0, memory=80.0),
    "a100-80gb-pcie": _nvidia("a100/", tflops=312.0, bandwidth=1935.0, link=32.0, memory=80.0),
    "h100-sxm": _nvidia("h100/", tflops=989.5, fp8_tflops=1979.0, bandwidth=3350.0, link=450.0, memory=80.0),
    "h100-pcie": _nvidia("h100/", tflops=756.5, fp8_tflops=1513.0, bandwidth=2000.0, link=64.0, memory=80.0),
    "h100-nvl": _nvidia("h100/", tflops=835.5, fp8_tflops=1670.5, bandwidth=3900.0, link=300.0, memory=94.0),
    "h200": _nvidia("h200/", tflops=989.5, fp8_tflops=1979.0, bandwidth=4800.0, link=450.0, memory=141.0),
    "b200": _nvidia("dgx-b200/", tflops=2250.0, fp8_tflops=4500.0, bandwidth=8000.0, link=900.0, memory=180.0),
    "mi300x": DevicePreset(
        DeviceShape(tflops=1307.4, fp8_tflops=2614.9, bandwidth=5300.0, link=448.0, memory=192.0),
        "AMD data sheet, https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html;"
        " seven links of 64 GB/s to the others"),
    "mi325x": DevicePreset(
        DeviceShape(tflops=1307.4, fp8_tflops=2614.9, bandwidth=6000.0, link=448.0, memory=256.0),
        "AMD data sheet, https://www.amd.com/en/products/accelerators/instinct/mi300/mi325x.html;"
        " seven links of 64 GB/s to the others"),
}
# fmt: on
"""By name."""
