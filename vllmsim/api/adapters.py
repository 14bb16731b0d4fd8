# -*- test-case-name: tests.api.test_adapters -*-
"""How LoRA adapters are loaded and unloaded, as vLLM 0.33 reads and writes it.

``/v1/load_lora_adapter`` takes ``{"lora_name", "lora_path", "load_inplace": false}`` and ``/v1/unload_lora_adapter``
``{"lora_name"}``. SageMaker's ``POST /adapters`` takes ``{"name", "src"}``, and ``DELETE /adapters/{name}`` nothing.
All answer with a sentence.
"""

from vllmsim.api.body import Body, Head, read_object, validate


class LoadBody(Body):
    """An adapter to be loaded."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False
    is_3d_lora_weight: bool = False


class UnloadBody(Body):
    """An adapter to be unloaded."""

    lora_name: str
    lora_int_id: int | None = None


class RegisterBody(Body):
    """An adapter to be loaded, as SageMaker says it."""

    name: str
    src: str


def read_load(body: bytes, head: Head) -> LoadBody:
    """Read what is to be loaded.

    :raises vllmsim.errors.MalformedRequest: when the body is not that.
    """
    return validate(LoadBody, read_object(body, head), body)


def read_unload(body: bytes, head: Head) -> UnloadBody:
    """Read what is to be unloaded.

    :raises vllmsim.errors.MalformedRequest: when the body is not that.
    """
    return validate(UnloadBody, read_object(body, head), body)


def read_register(body: bytes, head: Head) -> RegisterBody:
    """Read what SageMaker wants to be loaded.

    :raises vllmsim.errors.MalformedRequest: when the body is not that.
    """
    return validate(RegisterBody, read_object(body, head), body)


def loaded(name: str) -> bytes:
    """Say that an adapter is there."""
    return f"Success: LoRA adapter '{name}' added successfully.".encode()


def unloaded(name: str) -> bytes:
    """Say that an adapter is there no more."""
    return f"Success: LoRA adapter '{name}' removed successfully.".encode()


def registered(name: str) -> bytes:
    """Say to SageMaker that an adapter is there."""
    return f"Adapter {name} registered".encode()


def unregistered(name: str) -> bytes:
    """Say to SageMaker that an adapter is there no more."""
    return f"Adapter {name} unregistered".encode()
