# -*- test-case-name: tests.dataset.test_conversations -*-
"""A dataset in use, as its file comes and goes.

A simulator must answer whatever becomes of a file that others may lock, replace, cut off or delete. So a lookup never
fails: it finds an answer, or says that there is none to be had and why. Meanwhile the file is tried again, at most each
second, when something is asked for; once it can be used, it is. A file that has changed is read anew while what was
read before still answers. What happens is logged when it begins and when it ends, not each time.
"""

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar, Final, Literal

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vllmsim.dataset.corpus import Corpus, Found, Tell, open_corpus
from vllmsim.dataset.database import DatasetError, DatasetLockedError, Stamp
from vllmsim.dataset.lookups import Lookups
from vllmsim.dataset.records import BadRecordError, Saved, hash_ids, hash_texts
from vllmsim.inference import Extent, TokenizedPrompt

Result = Literal["hit", "miss", "fallback"]
Trouble = Literal["locked", "broken", "empty"]

_RETRY: Final = 1.0
"""Least seconds between two tries to open a file."""
_REST: Final = 10
"""How many times longer than it took to open a file the next try waits: one that changes all the time is no burden."""
_SILENCE: Final = 2.0
"""Seconds of reading before the log says how far it is, and between two times that it does."""


@frozen(eq=False)
class Finding:
    """What a lookup came to.

    :param result: whether it is an answer to the prompt, an answer to another, or none.
    :param saved: the answer; None for a fallback.
    :param trouble: why there is none.
    """

    result: Result
    saved: Saved | None = None
    trouble: Trouble | None = None


@define(eq=False)
class Conversations:
    """One dataset.

    :param name: what metrics call it.
    :param path: its file.
    :param table: the table in it.
    :param in_memory: whether the file is read at the start and never again.
    :param lookups: where it is read.
    :param defer_to_thread: runs a function off the reactor; what may take seconds goes there.
    """

    _log: ClassVar[Logger] = Logger()

    name: str
    _path: str
    _table: str
    _in_memory: bool
    _clock: IReactorTime
    _lookups: Lookups
    _defer_to_thread: "Callable[..., Deferred[Any]]"
    _corpus: Corpus | None = field(init=False, default=None)
    _trouble: Trouble | None = field(init=False, default=None)
    _complained: bool = field(init=False, default=False)
    _opening: bool = field(init=False, default=False)
    _next_try: float = field(init=False, default=0.0)
    _closed: bool = field(init=False, default=False)

    def open(self) -> None:
        """Open it, here and now. A file that is locked is tried again later.

        :raises DatasetError: when it is no dataset.
        """
        try:
            corpus = self._open(Stamp.of(self._path), None)
        except DatasetLockedError as error:
            self._give_up("locked", error)
            self._next_try = self._clock.seconds() + _RETRY
        else:
            self._take(corpus)

    async def find(self, prompt: TokenizedPrompt, extent: Extent, generator: random.Random) -> Finding:
        """Look for an answer. What is found depends on the file, the prompt, the extent and the generator alone.

        :param extent: how long it should be; it may be longer or shorter where there is none of that length.
        """
        corpus = self._corpus
        if corpus is None or self._trouble is not None:
            trouble = self._trouble or "broken"
            self._try_again()
            return Finding("fallback", trouble=trouble)
        try:
            found = await self._lookups.run(_find, corpus, prompt, extent, generator)
        except BadRecordError as error:
            if not self._complained:
                self._complained = True
                self._log.warn("Dataset {path} has a bad row: {error}.", path=self._path, error=error)
            return Finding("fallback", trouble="broken")
        except DatasetLockedError as error:
            self._give_up("locked", error)
            return Finding("fallback", trouble="locked")
        except DatasetError as error:
            self._give_up("broken", error)
            return Finding("fallback", trouble="broken")
        if not found.current:
            self._try_again()
        if found.saved is None:
            return Finding("fallback", trouble="empty" if found.current else "broken")
        return Finding("hit" if found.hit else "miss", found.saved)

    def close(self) -> "Deferred[None]":
        """Use it no more.

        :return: fires when the file is closed.
        """
        self._closed = True
        return Deferred.fromCoroutine(self._drop())

    async def _drop(self) -> None:
        corpus, self._corpus = self._corpus, None
        if corpus is not None:
            # What is being looked up needs it still.
            await self._lookups.run(corpus.close)

    def _open(self, stamp: Stamp, former: Corpus | None) -> Corpus:
        return open_corpus(
            self._path, self._table, stamp, in_memory=self._in_memory, former=former, tell=self._progress()
        )

    def _progress(self) -> Tell:
        last = self._clock.seconds()

        def tell(share: float) -> None:
            nonlocal last
            now = self._clock.seconds()
            if now - last >= _SILENCE:
                last = now
                self._log.info("Reading dataset {path}: {percent} %.", path=self._path, percent=int(share * 100))

        return tell

    def _take(self, corpus: Corpus) -> None:
        """Use what was opened."""
        rows = len(corpus.places)
        self._log.info("Dataset {path} has {rows} answers.", path=self._path, rows=rows)
        if not rows:
            self._log.warn("Dataset {path} is empty: answers are random.", path=self._path)
        if corpus.unkept is not None:
            self._log.warn(
                "No index can be kept beside dataset {path} ({reason}), so that it is read whole at each start."
                " This makes an index in it, which saves that: {advice}",
                path=self._path,
                reason=corpus.unkept,
                advice=corpus.advice,
            )
        self._corpus, self._trouble, self._complained = corpus, None, False

    def _give_up(self, trouble: Trouble, error: Exception) -> None:
        """Have answers be random for a while."""
        if self._trouble != trouble:
            self._trouble = trouble
            self._log.warn("Answers are random, as a dataset cannot be used: {error}. It is tried again.", error=error)
            self._next_try = self._clock.seconds() + _RETRY

    def _try_again(self) -> None:
        """Open the file anew, unless that is being done or was done just now."""
        if self._opening or self._closed or self._clock.seconds() < self._next_try:
            return
        self._opening = True
        Deferred.fromCoroutine(self._reopen()).addErrback(self._fail)

    async def _reopen(self) -> None:
        started = self._clock.seconds()
        former = self._corpus
        try:
            # Connections to the file rest meanwhile, as the stamp wants it.
            stamp = await self._lookups.run(Stamp.of, self._path)
            corpus: Corpus = await self._defer_to_thread(self._open, stamp, former)
        except DatasetLockedError as error:
            self._give_up("locked", error)
        except DatasetError as error:
            self._give_up("broken", error)
            await self._drop()
        else:
            if self._closed:
                corpus.close()
                return
            self._take(corpus)
            if former is not None:
                await self._lookups.run(former.close)
        finally:
            now = self._clock.seconds()
            self._opening = False
            self._next_try = now + max(_RETRY, _REST * (now - started))

    def _fail(self, reason: Any) -> None:
        self._log.failure("While opening dataset {path}", reason, path=self._path)


def _find(corpus: Corpus, prompt: TokenizedPrompt, extent: Extent, generator: random.Random) -> Found:
    """Look for an answer, in a thread."""
    return corpus.find(_hashes(prompt), extent.least, extent.most, generator)


def _hashes(prompt: TokenizedPrompt) -> Iterator[bytes]:
    """Tell the hashes under which a prompt may be, those of older files last."""
    # A tokenizer may have ids of more bits; no dataset has them.
    with suppress(struct.error):
        yield hash_ids(prompt.ids)
    yield from hash_texts(prompt.prompt)
