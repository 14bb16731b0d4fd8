# -*- test-case-name: tests.tokenization.hub.test_cache -*-
"""The cache of the Hugging Face hub on this machine, which we share with other programs.

For each model it has a folder ``models--ORGANIZATION--NAME``. In it ``blobs`` has the files, under the entity tags that
the hub gives them; ``snapshots/COMMIT`` has links to them, under their own names; and ``refs/REVISION`` says which
commit a branch or a tag was when it was last looked at. ``.no_exist/COMMIT`` has an empty file for each that the model
does not have.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shutil import copyfile
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from vllmsim.config.schema import Configuration
from vllmsim.config.tokenizers import is_hub_id, is_revision

TOKENIZER_FILE: Final = "tokenizer.json"
"""The file without which there is no tokenizer."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})
_PUBLIC_HUB: Final = "https://huggingface.co"


@frozen
class HubModel:
    """A model of the hub.

    :param id: its name, with its organization's before it.
    :param revision: a branch, a tag or a commit.
    """

    id: str
    revision: str = "main"

    def __str__(self) -> str:
        """Name it, and its revision if that is not the usual one."""
        return self.id if self.revision == "main" else f"{self.id} at {self.revision}"


@frozen
class HubCache:
    """Files of models on this machine.

    :param root: the directory of all models.
    """

    root: Path

    def folder(self, model: HubModel) -> Path:
        """Find where a model's files belong."""
        return self.root / f"models--{model.id.replace('/', '--')}"

    def find(self, model: HubModel) -> Path | None:
        """Look for a model's tokenizer.

        :return: the folder that has it, or None when it is not there.
        """
        if not is_hub_id(model.id) or not is_revision(model.revision):
            return None
        folder = self.folder(model)
        commit = model.revision
        # What is no text is no commit.
        with suppress(OSError, ValueError):
            commit = (folder / "refs" / model.revision).read_text("ascii").strip()
        if not is_commit(commit):
            return None
        snapshot = folder / "snapshots" / commit
        return snapshot if (snapshot / TOKENIZER_FILE).is_file() else None

    def blob(self, model: HubModel, etag: str) -> Path:
        """Say where a file's bytes belong."""
        return self.folder(model) / "blobs" / etag

    def link(self, model: HubModel, commit: str, name: str, etag: str) -> None:
        """Give a file that is there its name.

        :raises OSError: when that cannot be written.
        """
        place = self.folder(model) / "snapshots" / commit / name
        if place.is_file():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{name}.{os.getpid()}")
        try:
            new.symlink_to(Path("..", "..", "blobs", etag))
        except OSError:
            # Some disks know no links.
            copyfile(self.blob(model, etag), new)
        new.replace(place)

    def note_missing(self, model: HubModel, commit: str, name: str) -> None:
        """Remember that a model has no file of a name."""
        place = self.folder(model) / ".no_exist" / commit / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()

    def note_commit(self, model: HubModel, commit: str) -> None:
        """Remember which commit a revision is."""
        if model.revision == commit:
            return
        place = self.folder(model) / "refs" / model.revision
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{place.name}.{os.getpid()}")
        new.write_text(commit, "ascii")
        new.replace(place)


@frozen
class HubAccess:
    """How the hub is reached.

    :param endpoint: its address.
    :param token: tells it who asks; empty to ask as anybody.
    :param offline: whether it must not be asked at all.
    """

    endpoint: str
    token: str
    offline: bool


def is_commit(text: str) -> bool:
    """Tell whether a text is the name of a commit."""
    return _COMMIT.fullmatch(text) is not None


def hub_cache(configuration: Configuration, environ: Mapping[str, str]) -> HubCache:
    """Find the cache: where the configuration says, or else where other programs have it."""
    own = configuration.tokenizers_cache_dir
    shared = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return HubCache(_path(own or shared or f"{_home(environ)}/hub"))


def hub_access(configuration: Configuration, environ: Mapping[str, str]) -> HubAccess:
    """Find out how the hub is reached: variables are those of other programs."""
    token = configuration.hf_token or environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    if not token:
        # Where signing in on a command line leaves it.
        with suppress(OSError, ValueError):
            token = _path(environ.get("HF_TOKEN_PATH") or f"{_home(environ)}/token").read_text("ascii")
    offline = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or ""
    return HubAccess(
        (environ.get("HF_ENDPOINT") or _PUBLIC_HUB).rstrip("/"), "".join(token.split()), offline.upper() in _TRUE
    )


def token_for(url: str, access: HubAccess) -> str:
    """Find the token that goes with an address: the hub's, if that is where it is."""
    with suppress(ValueError):
        asked, hub = urlsplit(url), urlsplit(access.endpoint)
        if (asked.scheme, asked.hostname, asked.port) == (hub.scheme, hub.hostname, hub.port):
            return access.token
    return ""


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HF_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
