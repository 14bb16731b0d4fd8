# -*- test-case-name: tests.scripts.test_borrowing -*-
"""Options of the daemon that other commands take too, with the same names and meanings."""

from argparse import BooleanOptionalAction, Namespace, _ArgumentGroup
from collections.abc import Iterable

from vllmsim.config.kinds import Flag
from vllmsim.config.names import find


def describe(group: _ArgumentGroup, names: Iterable[str]) -> None:
    """Have a command take options of the daemon, and a file with such options."""
    for name in names:
        meaning = find(name)
        assert meaning is not None
        words = meaning.option.help.replace("%", "%%")
        if isinstance(meaning.option.kind, Flag):
            group.add_argument(f"--{name}", action=BooleanOptionalAction, default=None, help=words)
        else:
            group.add_argument(f"--{name}", metavar="X", help=words)
    group.add_argument("--config", metavar="FILE", help="YAML file with such options")


def words_of(own: Namespace, names: Iterable[str]) -> list[str]:
    """Write those that were given as words of the daemon's command line."""
    given = {name: getattr(own, name.replace("-", "_")) for name in (*names, "config")}
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in given.items()
        if value is not None
    ]
