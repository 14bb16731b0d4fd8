# -*- test-case-name: tests.config.test_schema -*-
"""What an option is: the facts of which flags, YAML keys, help and documentation are made."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
from attrs import frozen

from vllmsim.config.kinds import Kind

GROUPS: Final[Mapping[str, str]] = {
    "server": "Server",
    "access": "Access",
    "model": "Model",
    "scheduling": "Scheduling",
    "steps": "Engine steps",
    "step-time": "Time of engine steps",
    "latency": "Latency",
    "answers": "Answers",
    "tokenizer": "Tokenizer",
    "tools": "Tool calls",
    "cache": "KV cache and its events",
    "lora": "LoRA",
    "failures": "Failures",
    "metrics": "Metrics",
    "logs": "Logs",
    "tracing": "Tracing",
    "journal": "Journal of requests",
    "parallel": "Data parallel",
    "media": "Images and other media",
    "tls": "TLS",
    "plugins": "Plugins",
    "vllm": "Flags of vllm serve that have no meaning here",
}
"""Option groups in the order in which help and documentation show them."""


@frozen
class Option:
    """One option's facts.

    :param name: the flag without its dashes, which is the YAML key too.
    :param kind: how values are written and what is allowed.
    :param default: the value without any source; None where there is none.
    :param help: one sentence.
    :param group: a key of :data:`GROUPS`.
    :param unit: what a bare number counts.
    :param aliases: further flags, with their dashes.
    :param environment: the variable that sets it.
    :param live: whether it may change while the daemon runs.
    :param acts: whether it does anything; setting one that does not is accepted, with a warning.
    :param secret: whether its value must not be shown.
    :param files: whether it may name files whose content belongs to its value.
    :param inline: whether these are for whoever starts the server alone: others must say the value itself.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    group: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    environment: str | None = None
    live: bool = False
    acts: bool = True
    secret: bool = False
    files: bool = False
    inline: bool = False

    @property
    def attribute(self) -> str:
        """The field of :class:`Configuration`, for options that have one."""
        return self.name.replace("-", "_")


def by_group(options: Iterable[Option]) -> Iterator[tuple[str, list[Option]]]:
    """Sort options into their groups.

    :return: the title of each group that has any, and its options in their order.
    """
    everything = list(options)
    for group, title in GROUPS.items():
        if members := [option for option in everything if option.group == group]:
            yield title, members


def option(group: str, kind: Kind, default: Any, help: str, **facts: Any) -> Any:  # noqa: A002
    """Declare a field of :class:`vllmsim.config.schema.Configuration` with its option's facts."""
    # Values are shown where nobody thinks of secrets, such as in tracebacks and among the fields of log events.
    shown = not facts.get("secret", False)
    facts = dict(group=group, kind=kind, help=help, **facts)
    return attrs.field(default=default, repr=shown, metadata={"facts": facts})
