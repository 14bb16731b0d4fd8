"""Units of systemd, read as far as tests need them."""

import shlex
from pathlib import Path
from typing import Self

from attrs import frozen

FOLDER = Path(__file__).parents[2] / "debian"


@frozen
class Unit:
    """A unit file.

    :param values: what each key is set to, one after the other. Keys of all sections are told apart by their names.
    """

    values: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path, instance: str = "") -> Self:
        """Read one.

        :param instance: stands for ``%i``.
        """
        values: dict[str, list[str]] = {}
        for line in path.read_text("utf-8").splitlines():
            key, separator, value = line.replace("%i", instance).partition("=")
            if separator and not key.startswith("#"):
                values.setdefault(key, []).append(value)
        return cls(values)

    def one(self, key: str) -> str:
        """Find the value of a key that is set once."""
        (value,) = self.values[key]
        return value

    def environment(self) -> dict[str, str]:
        """Find what it puts into the environment itself, with the places that systemd has for services."""
        text = " ".join(self.values["Environment"]).replace("%S", "/var/lib").replace("%C", "/var/cache")
        return dict(word.split("=", 1) for word in shlex.split(text))

    def seconds(self, key: str) -> float:
        """Find a time."""
        return float(self.one(key).removesuffix("s"))

    def command(self, key: str, number: int, environment: dict[str, str]) -> list[str]:
        """Find the words of a command; a variable that stands alone becomes as many as it has."""
        words = []
        for word in shlex.split(self.values[key][number]):
            if word.startswith("$"):
                words += shlex.split(environment.get(word[1:], ""))
            else:
                words.append(word)
        return words
