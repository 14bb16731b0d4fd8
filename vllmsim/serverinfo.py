# -*- test-case-name: tests.test_serverinfo -*-
"""What ``/server_info`` tells beside the configuration: environment and machine. Secrets are never among it."""

import platform
from collections.abc import Mapping
from typing import Any, Final

from vllmsim import VLLM_VERSION, __version__
from vllmsim.secrecy import MASK, looks_secret, open_text

_SECRET_WORDS: Final = ("KEY", "PASS")
_PACKAGES: Final = ("Twisted", "klein", "attrs", "Automat", "prometheus-client", "pydantic", "orjson", "PyYAML")


def describe_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Show the variables that are vLLM's; of those that sound secret, only that they are set."""
    return {
        name: MASK if looks_secret(name) or any(word in name for word in _SECRET_WORDS) else open_text(value)
        for name, value in sorted(environ.items())
        if name.startswith("VLLM_")
    }


def describe_system() -> dict[str, Any]:
    """Find out about the machine and the packages; this reads files."""
    return {
        "os": platform.platform(),
        "machine": platform.machine(),
        "python_version": platform.python_version(),
        "python_implementation": platform.python_implementation(),
        "packages": {"vllmsim": __version__, "vllm": VLLM_VERSION} | dict(map(installed, _PACKAGES)),
    }


def installed(package: str) -> tuple[str, str]:
    """Find out which release of a package is installed.

    :return: the package, and its release or ``unknown``.
    """
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - few ask

    try:
        return package, version(package)
    except PackageNotFoundError:
        return package, "unknown"
