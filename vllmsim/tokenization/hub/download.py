# -*- test-case-name: tests.tokenization.hub.test_download -*-
"""Downloads a model's tokenizer from the Hugging Face hub, into the cache that other programs share.

A file is at ``ENDPOINT/ID/resolve/REVISION/NAME``. ``HEAD`` there tells of it: ``X-Repo-Commit`` is the commit that the
revision is, ``X-Linked-Etag`` or ``ETag`` names the content, ``X-Linked-Size`` or ``Content-Length`` is its size. The
tag of a large file is its SHA-256, and the answer leads to another server, which has the bytes, and whose own headers
say nothing of this. Redirects within the hub, where a model has a new name, are followed first. ``X-Error-Code`` says
why there is nothing.

``tokenizer.json`` comes last, so that a snapshot with it has everything else too.
"""

from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

from attrs import define, frozen
from twisted.logger import Logger

from vllmsim.config.tokenizers import is_revision
from vllmsim.downloading.download import Downloader, Wanted
from vllmsim.downloading.web import Answer, DownloadError, Patience, Remote
from vllmsim.tokenization.hub.cache import TOKENIZER_FILE, HubAccess, HubCache, HubModel, is_commit

_OTHER_FILES: Final = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "config.json",
    "chat_template.jinja",
)
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = frozenset({401, 403})
_SHA256_LENGTH: Final = 64
_MAX_TAG: Final = 200
_MAX_DIGITS: Final = 18
_TAG_CHARACTERS: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:+=")


@frozen
class _HubFile:
    """What the hub tells of a file.

    :param etag: names its content.
    :param size: bytes, if they are told.
    """

    name: str
    commit: str
    etag: str
    size: int | None

    @property
    def sha256(self) -> str:
        """The hash of its bytes, if that is what the tag is."""
        tag = self.etag.lower()
        return tag if len(tag) == _SHA256_LENGTH and not set(tag) - set("0123456789abcdef") else ""


@define(eq=False)
class HubDownload:
    """Fills the cache."""

    _log: ClassVar[Logger] = Logger()

    _downloader: Downloader
    _access: HubAccess
    _cache: HubCache

    async def fetch(self, model: HubModel) -> Path:
        """Have a model's tokenizer in the cache.

        :return: the folder that has it.
        :raises DownloadError: when it cannot be had.
        """
        if (found := self._cache.find(model)) is not None:
            return found
        if self._access.offline:
            raise DownloadError(
                f"{TOKENIZER_FILE} of {model} is not in {self._cache.root}, and HF_HUB_OFFLINE forbids to download it"
            )
        if not is_revision(model.revision):
            raise DownloadError(f"{model.revision!r} is no revision of {model.id}")
        try:
            return await self._fetch(model)
        except OSError as error:
            raise DownloadError(f"cannot write to {self._cache.root}: {error.strerror or error}") from error

    async def _fetch(self, model: HubModel) -> Path:
        first = await self._look(model, model.revision, TOKENIZER_FILE)
        if first is None:
            raise DownloadError(f"{model} has no {TOKENIZER_FILE} at {self._access.endpoint}")
        self._log.info("Downloading the tokenizer of {model}, commit {commit}.", model=model, commit=first.commit)
        for name in _OTHER_FILES:
            file = await self._look(model, first.commit, name)
            if file is None:
                self._cache.note_missing(model, first.commit, name)
            else:
                await self._keep(model, first.commit, file)
        await self._keep(model, first.commit, first)
        self._cache.note_commit(model, first.commit)
        return self._cache.folder(model) / "snapshots" / first.commit

    async def _keep(self, model: HubModel, commit: str, file: _HubFile) -> None:
        blob = self._cache.blob(model, file.etag)
        if file.size == 0:
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.touch()
        wanted = Wanted(self._remote(model, commit, file.name), f"{file.name} of {model.id}", file.sha256, file.size)
        await self._downloader.fetch(wanted, blob)
        self._cache.link(model, commit, file.name, file.etag)

    def _remote(self, model: HubModel, revision: str, name: str) -> Remote:
        url = f"{self._access.endpoint}/{model.id}/resolve/{quote(revision, safe='')}/{name}"
        return Remote(url, self._access.token)

    async def _look(self, model: HubModel, revision: str, name: str) -> _HubFile | None:
        """Ask about a file.

        :return: what is told, or None when the model has none of that name.
        :raises DownloadError: when the model cannot be had, or what answers is no hub.
        """
        web, remote = self._downloader.web, self._remote(model, revision, name)
        answer: Answer = await Patience(web.clock).insist(lambda: web.request("HEAD", remote, {}, elsewhere=False))
        answer.drop()
        status, code = answer.response.code, answer.header("X-Error-Code")
        if status in _FORBIDDEN or code in {"RepoNotFound", "GatedRepo"}:
            raise DownloadError(self._why_forbidden(model, code))
        if code == "RevisionNotFound":
            raise DownloadError(f"{model.id} has no revision {revision} at {self._access.endpoint}")
        if status == _NOT_FOUND:
            return None
        if status >= 400:  # noqa: PLR2004
            raise DownloadError(f"{remote} answers with status {status}")
        return self._read(answer, remote, name)

    def _why_forbidden(self, model: HubModel, code: str | None) -> str:
        where = self._access.endpoint
        if code == "GatedRepo":
            return f"{model.id} is gated: accept its conditions at {where}/{model.id}, and give hf-token (HF_TOKEN)"
        secret = "hf-token (HF_TOKEN) does not open it" if self._access.token else "it wants hf-token (HF_TOKEN)"
        return f"there is no {model.id} at {where}, or {secret}"

    def _read(self, answer: Answer, remote: Remote, name: str) -> _HubFile:
        commit = answer.header("X-Repo-Commit") or ""
        etag = (answer.header("X-Linked-Etag") or answer.header("ETag") or "").removeprefix("W/").strip('"')
        # Both become names of files.
        named = etag and len(etag) <= _MAX_TAG and not set(etag) - _TAG_CHARACTERS and not etag.startswith(".")
        if not is_commit(commit) or not named:
            raise DownloadError(f"what answers at {remote} is no hub: it names no commit or no content")
        there = answer.response.code == 200  # noqa: PLR2004
        size = answer.header("X-Linked-Size") or (answer.header("Content-Length") if there else None) or ""
        return _HubFile(name, commit, etag, int(size) if size.isdecimal() and len(size) < _MAX_DIGITS else None)
