# -*- test-case-name: tests.tokenization.test_bundle -*-
"""A tokenizer's files in one ZIP archive, as gateways fetch them from the server whose tokenizer they share.

Which files belong to it is known by their names, and by some endings. They are in the folder, or are links to where the
hub's cache has their bytes; what a link leads to elsewhere is left out. The same files make the same archive, to the
byte, whenever and wherever it is made.
"""

import hashlib
import stat
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Final

from attrs import frozen

NAMES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "tiktoken.model",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
"""The files that are taken first, in this order."""
_ENDINGS: Final = (".tiktoken", ".jinja", ".model")
MOST_BYTES: Final = 1 << 27
"""How large all files may be together."""
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
"""When files have changed, as the archive tells it: the first moment that it can."""
_MODE: Final = stat.S_IFREG | 0o644


class BundleError(ValueError):
    """There is no archive; the text says why."""


@frozen
class Bundle:
    """An archive.

    :param data: its bytes.
    :param sha256: their hash, in hexadecimal digits.
    """

    data: bytes
    sha256: str


def pack(files: Mapping[str, bytes]) -> Bundle:
    """Make the archive of some files.

    :param files: their contents by name, in the order in which they are there.
    """
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, _LONG_AGO)
            info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_DEFLATED, _MODE << 16, 3
            archive.writestr(info, content)
    data = buffer.getvalue()
    return Bundle(data, hashlib.sha256(data).hexdigest())


def read_files(place: Path) -> Mapping[str, bytes]:
    """Read a tokenizer's files; this may take a tenth of a second.

    :param place: a folder, or a ``tokenizer.json`` that stands alone, whatever its name.
    :raises BundleError: when there are none, or they are too large or cannot be read.
    """
    try:
        chosen = {NAMES[0]: place} if place.is_file() else _choose(place)
        if not chosen:
            raise BundleError(f"No tokenizer files found in {place}")
        size = sum(path.stat().st_size for path in chosen.values())
        if size > MOST_BYTES:
            raise BundleError(f"The tokenizer files in {place} have {size} bytes, and at most {MOST_BYTES} are told")
        return {name: path.read_bytes() for name, path in chosen.items()}
    except OSError as error:
        raise BundleError(f"The tokenizer files in {place} cannot be read: {error.strerror or error}") from error


def _choose(folder: Path) -> dict[str, Path]:
    """Find the files of a folder that belong to its tokenizer."""
    homes = [folder.resolve()]
    if folder.parent.name == "snapshots":
        # That is how the hub's cache has them.
        homes.append((folder.parent.parent / "blobs").resolve())
    further = sorted(path.name for path in folder.iterdir() if path.suffix in _ENDINGS)
    names = dict.fromkeys((*NAMES, *further))
    return {name: folder / name for name in names if _belongs(folder / name, homes)}


def _belongs(path: Path, homes: list[Path]) -> bool:
    return path.is_file() and any(path.resolve().is_relative_to(home) for home in homes)
