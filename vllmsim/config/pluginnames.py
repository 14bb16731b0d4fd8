# -*- test-case-name: tests.config.test_pluginnames -*-
"""How plugins are called, and what stands where a plugin may be named."""

import re
from typing import ClassVar, Final

from attrs import frozen

from vllmsim.config.kinds import Kind

MODES: Final = ("random", "echo")
CALCULATORS: Final = ("", "constant", "per-token")
STEP_TIMES: Final = ("", "linear", "roofline", "profile")
PUBLISHERS: Final = ("zmq", "null")
TOKENIZER: Final = "plugin:"
"""What stands before the name of a tokenizer."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


def is_plugin_name(text: object) -> bool:
    """Tell whether a plugin may be called so."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


@frozen
class PluginName(Kind):
    """The name of a plugin, or one of ours.

    :param ours: the names of our own.
    """

    placeholder: ClassVar[str] = "NAME"
    ours: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What may be given."""
        ours = [name or '""' for name in self.ours]
        return ", ".join([*ours, "or the name of a plugin"] if ours else ["the name of a plugin"])

    def from_text(self, text: str) -> str:
        """Read a name."""
        if text not in self.ours and not is_plugin_name(text):
            raise ValueError
        return text
