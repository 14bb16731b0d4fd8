# -*- test-case-name: tests.config.test_tokenizers -*-
"""What the option ``tokenizer`` may say."""

import re
from pathlib import Path
from typing import Final, Literal, TypeAlias

from vllmsim.config.pluginnames import TOKENIZER, is_plugin_name

TokenizerKind: TypeAlias = Literal["words", "builtin", "remote", "plugin", "path", "hub"]
"""One of our own, a render service, a plugin's, a file or a folder on this machine, or a model of the hub."""

_NAMES: Final[tuple[TokenizerKind, ...]] = ("words", "builtin", "remote")
_PATH_BEGINS: Final = ("/", ".", "~")
_HUB_PART: Final = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_HUB_ID: Final = re.compile(rf"(?:{_HUB_PART}/)?{_HUB_PART}", re.ASCII)
_HUB_ID_LENGTH: Final = 96
_REVISION: Final = re.compile(r"[\w+@-][\w.+@-]*(?:/[\w+@-][\w.+@-]*)*", re.ASCII)


def kind_of_tokenizer(value: str) -> TokenizerKind:
    """Tell what a value of the option means.

    :raises ValueError: saying why, when it means nothing.
    """
    for name in _NAMES:
        if value == name:
            return name
    if value.startswith(TOKENIZER):
        if is_plugin_name(value.removeprefix(TOKENIZER)):
            return "plugin"
        raise ValueError(f"{value!r} has no name of a plugin behind the colon")
    try:
        if Path(value).expanduser().exists():
            return "path"
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{value!r} cannot be looked at: {error}") from None
    if value.startswith(_PATH_BEGINS):
        raise ValueError(f"there is nothing at {value!r}")
    if is_hub_id(value):
        return "hub"
    raise ValueError(
        f"{value!r} is none of {', '.join(_NAMES)}, no plugin:NAME, no path, and no name of a model on the hub"
    )


def is_hub_id(text: str) -> bool:
    """Tell whether a text may name a model on the hub: ``name`` or ``organization/name``."""
    return (
        len(text) <= _HUB_ID_LENGTH
        and _HUB_ID.fullmatch(text) is not None
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
    )


def is_revision(text: str) -> bool:
    """Tell whether a text may name a revision: a branch, a tag or a commit."""
    return _REVISION.fullmatch(text) is not None and ".." not in text
