# -*- test-case-name: tests.config.test_datasets -*-
"""Datasets as options name them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, frozen

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_TEXTS: Final = {"path": "path", "url": "url", "sha256": "sha256", "table-name": "table_name"}
_FLAG: Final = "in-memory"


@frozen
class Dataset:
    """An SQLite file with answers.

    :param path: where it is.
    :param url: where it is downloaded from if it is not there; nowhere if empty.
    :param sha256: the SHA-256 of what is downloaded, in hexadecimal; not known if empty.
    :param in_memory: whether it is read into memory at the start; None where the usual option says it.
    :param table_name: the table with the answers; likewise.
    """

    path: str
    url: str = ""
    sha256: str = ""
    in_memory: bool | None = None
    table_name: str | None = None

    def completed(self, usual: "Dataset") -> "Dataset":
        """Take from another what is not said here."""
        return evolve(
            self,
            in_memory=usual.in_memory if self.in_memory is None else self.in_memory,
            table_name=self.table_name or usual.table_name,
        )


def is_sha256(text: str) -> bool:
    """Tell whether a text is a SHA-256 in hexadecimal."""
    return _SHA256.fullmatch(text) is not None


def parse_datasets(value: object) -> dict[str, Dataset]:
    """Read a map of model names to datasets, each a path or a map.

    :raises ValueError: naming what is wrong.
    """
    if not isinstance(value, Mapping):
        raise ValueError("it is not a map of model names to datasets")
    return {str(name): _parse_dataset(str(name), dataset) for name, dataset in value.items()}


def _parse_dataset(name: str, value: object) -> Dataset:
    if isinstance(value, str):
        value = {"path": value}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name!r} has neither a path nor a map")
    members: dict[str, Any] = {}
    for key, member in value.items():
        option = str(key).replace("_", "-")
        if option == _FLAG:
            if not isinstance(member, bool):
                raise ValueError(f"{key} of {name!r} is neither true nor false")
            members["in_memory"] = member
        elif option in _TEXTS:
            if not isinstance(member, str):
                raise ValueError(f"{key} of {name!r} is not text")
            members[_TEXTS[option]] = member
        else:
            allowed = ", ".join((*_TEXTS, _FLAG))
            raise ValueError(f"{name!r} has {key!r}, which is none of {allowed}")
    if not members.get("path"):
        raise ValueError(f"{name!r} has no path")
    if members.get("sha256") and not is_sha256(members["sha256"]):
        raise ValueError(f"sha256 of {name!r} is not 64 hexadecimal digits")
    return Dataset(**members)


def write_datasets(datasets: Mapping[str, Dataset]) -> dict[str, dict[str, object]]:
    """Write datasets as a map that :func:`parse_datasets` reads."""
    return {name: _write_dataset(dataset) for name, dataset in datasets.items()}


def _write_dataset(dataset: Dataset) -> dict[str, object]:
    members: dict[str, object] = {"path": dataset.path}
    members |= {key: value for key, value in (("url", dataset.url), ("sha256", dataset.sha256)) if value}
    if dataset.in_memory is not None:
        members[_FLAG] = dataset.in_memory
    if dataset.table_name:
        members["table-name"] = dataset.table_name
    return members
