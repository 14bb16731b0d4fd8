"""Requests about which it is asked whether they fail."""

from collections.abc import Mapping
from typing import Any

from vllmsim.faults import Facts


def facts(
    *, headers: Mapping[str, str] | None = None, key: str | None = None, streamed: bool = False, **more: Any
) -> Facts:
    """Make what is known of a request: one for a whole chat completion unless it is said otherwise."""
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    known = {"route": "/v1/chat/completions", "models": ("m",), "adapter": None, **more}
    return Facts(header=lambda name: sent.get(name.lower()), api_key=key, streamed=streamed, **known)
