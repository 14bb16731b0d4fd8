# -*- test-case-name: tests.config.test_lora -*-
"""LoRA modules as options name them."""

from collections.abc import Mapping

from attrs import frozen


@frozen
class LoraModule:
    """One adapter that is there from the start.

    :param name: the model name requests use.
    :param path: where its weights would be; reported as the model's root.
    :param base_model_name: the base model it belongs to, or None for the one that is served.
    """

    name: str
    path: str = ""
    base_model_name: str | None = None


def parse_lora_module(value: object) -> LoraModule:
    """Read ``name=path`` or a map with `name`, `path` and `base_model_name`; other members are ignored.

    :raises ValueError: when it has no name, or a member is not text.
    """
    if isinstance(value, str):
        name, separator, path = value.partition("=")
        if not separator:
            raise ValueError("it is neither name=path nor a map")
        value = {"name": name, "path": path}
    if not isinstance(value, Mapping):
        raise ValueError("it is neither name=path nor a map")
    members = {key: value.get(key) for key in ("name", "path", "base_model_name")}
    for key, member in members.items():
        if member is not None and not isinstance(member, str):
            raise ValueError(f"its {key} is not text")
    if not members["name"]:
        raise ValueError("it has no name")
    return LoraModule(members["name"], members["path"] or "", members["base_model_name"] or None)


def write_lora_module(module: LoraModule) -> dict[str, str]:
    """Write a module as a map that :func:`parse_lora_module` reads."""
    members = {"name": module.name, "path": module.path}
    return members | ({"base_model_name": module.base_model_name} if module.base_model_name else {})
