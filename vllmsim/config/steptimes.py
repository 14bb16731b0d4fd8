# -*- test-case-name: tests.config.test_steptimes -*-
"""Which model and which devices the options for step times mean, and what is wrong with these."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import attrs
from attrs import frozen

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.kinds import Kind, Parsed
from vllmsim.config.members import Members, integer
from vllmsim.presets.devices import DEVICES
from vllmsim.presets.models import MODELS, named_like
from vllmsim.shapes import DeviceShape, ModelShape

if TYPE_CHECKING:
    from vllmsim.config.schema import Configuration

T = TypeVar("T", ModelShape, DeviceShape)

_LARGEST: Final = 1e9
_MOST: Final = 1 << 31


@frozen
class PresetName(Kind):
    """The name of a preset, or nothing.

    :param names: those that there are.
    """

    placeholder: ClassVar[str] = "PRESET"
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What may be given."""
        return "the name of a preset (step-time.rst lists them), or empty"

    def from_text(self, text: str) -> str:
        """Read a name, in any case."""
        name = text.strip().lower()
        if name and name not in self.names:
            like = difflib.get_close_matches(name, self.names, n=3, cutoff=0.4)
            guesses = [each for each in self.names if each.startswith(name)] or like
            raise ValueError(
                f"did you mean {' or '.join(guesses)}?" if guesses else f"there are {', '.join(self.names)}"
            )
        return name


MODEL_PRESET: Final = PresetName(tuple(MODELS))
DEVICE_PRESET: Final = PresetName(tuple(DEVICES))


def _number(value: object, least: float) -> float:
    # YAML reads 989e12 as text.
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except ValueError:
        number = -1.0
    if not least <= number <= _LARGEST:
        raise ValueError(f"must be a number from {least:g} to {_LARGEST:g}")
    return number


def _math(value: object) -> str:
    if not isinstance(value, str) or value not in {"bf16", "fp8"}:
        raise ValueError("must be bf16 or fp8")
    return value


_SMALLEST: Final = 1e-3
_READERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    int: partial(integer, least=1, most=_MOST),
    float: partial(_number, least=_SMALLEST),
    str: _math,
}


def _parse(shape: type[ModelShape | DeviceShape], value: object) -> dict[str, Any]:
    """Read some members of a shape.

    :return: by attribute.
    :raises InvalidMembers: naming every member that is wrong.
    """
    if not isinstance(value, Mapping):
        raise ValueError("it is not a map")
    members = Members({str(name).replace("_", "-"): each for name, each in value.items()})
    read = {
        each.name: members.take(_written(each.name), _READERS[each.type or str])
        for each in attrs.fields(shape)
        if _written(each.name) in members.given
    }
    members.finish(f"is none of {', '.join(_written(each.name) for each in attrs.fields(shape))}")
    if members.faults:
        raise InvalidMembers(members.faults)
    return read


def _write(value: Mapping[str, Any]) -> dict[str, Any]:
    return {_written(name): each for name, each in value.items()}


def _written(attribute: str) -> str:
    return attribute.replace("_", "-")


MODEL_SHAPE: Final = Parsed(partial(_parse, ModelShape), _write, "a map of numbers that a model has")
DEVICE_SHAPE: Final = Parsed(partial(_parse, DeviceShape), _write, "a map of numbers that a device has")


def step_time_of(configuration: "Configuration") -> str:
    """Find which kind of step time is meant: the one that is named, or else the one that there is something for."""
    c = configuration
    if c.step_time:
        return c.step_time
    if c.step_profile is not None:
        return "profile"
    return "roofline" if c.model_preset or c.model_shape else "linear"


def model_of(configuration: "Configuration") -> ModelShape:
    """Find the model: the preset that is named, or the one for the model that is served, with what is said of it.

    :raises ValueError: with what is wrong, as a sentence without its end.
    """
    c = configuration
    name = c.model_preset or named_like(c.model) or ""
    return _shape(ModelShape, MODELS[name].shape if name else None, c.model_shape, "model")


def device_of(configuration: "Configuration") -> DeviceShape:
    """Find the device: the preset, with what is said of it.

    :raises ValueError: with what is wrong, as a sentence without its end.
    """
    c = configuration
    name = c.device_preset
    return _shape(DeviceShape, DEVICES[name].shape if name else None, c.device_shape, "device")


def kv_bytes_of(configuration: "Configuration") -> float:
    """Tell how many bytes a number in the KV cache has."""
    return 1.0 if configuration.kv_cache_dtype.startswith("fp8") else 2.0


def _shape(shape: type[T], preset: T | None, given: Mapping[str, Any] | None, what: str) -> T:
    if preset is not None:
        return attrs.evolve(preset, **(given or {}))
    missing = [
        _written(each.name)
        for each in attrs.fields(shape)
        if each.default is attrs.NOTHING and each.name not in (given or {})
    ]
    if missing and given:
        raise ValueError(f"{what}-shape needs {', '.join(missing)} where no {what}-preset has them")
    if missing:
        raise ValueError(f"roofline needs a {what}-preset, or a {what}-shape")
    return shape(**(given or {}))


def model_fault(configuration: "Configuration") -> str | None:
    """Say what is wrong with the model of a roofline."""
    if step_time_of(configuration) != "roofline":
        return None
    try:
        return model_of(configuration).fault()
    except ValueError as error:
        return str(error)


def device_fault(configuration: "Configuration") -> str | None:
    """Say what is wrong with the device of a roofline."""
    if step_time_of(configuration) != "roofline":
        return None
    try:
        device_of(configuration)
    except ValueError as error:
        return str(error)
    return None


def profile_fault(configuration: "Configuration") -> str | None:
    """Say that there is no profile where there should be one."""
    wanted = step_time_of(configuration) == "profile" and configuration.step_profile is None
    return "is needed for step-time profile" if wanted else None


def step_time_doubt(configuration: "Configuration") -> str:
    """Say in a sentence that steps take no time; empty if they take some, or there are none."""
    c = configuration
    times = (
        c.step_time_constant,
        c.step_time_per_prefill_token,
        c.step_time_per_decode_sequence,
        c.step_time_per_cached_token,
    )
    if not c.steps or any(times) or step_time_of(c) != "linear":
        return ""
    return "Engine steps take no time: step-time-constant and others, or model-preset, say how long they take."
