# -*- test-case-name: tests.scripts.dataset.test_work -*-
"""The work from a plan to three files: the rooms of this package, in the order in which a record goes through them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from vllmsim.assembly.tokenizing import make_tokenizer
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.schema import Configuration
from vllmsim.config.tokenizers import kind_of_tokenizer
from vllmsim.interfaces import ITokenizer
from vllmsim.scripts.dataset.building import Builder
from vllmsim.scripts.dataset.card import Facts, counted
from vllmsim.scripts.dataset.faults import BuildError
from vllmsim.scripts.dataset.fetching import fetch_input, fetch_tokenizer
from vllmsim.scripts.dataset.options import HubFile, Plan, Recorded
from vllmsim.scripts.dataset.output import CARD, DATABASE, LISTING, Place, Writer
from vllmsim.scripts.dataset.progress import Progress
from vllmsim.scripts.dataset.reading import Source
from vllmsim.scripts.dataset.server import Server


@define(eq=False)
class Work:
    """Makes a database.

    :param plan: what is to be done.
    :param environ: the environment.
    :param reactor: runs while it is.
    :param defer_to_thread: runs a function off the reactor.
    :param progress: told how far it is.
    """

    _plan: Plan
    _environ: Mapping[str, str]
    _reactor: Any
    _defer_to_thread: Callable[..., Deferred[Any]]
    _progress: Progress

    async def run(self) -> list[str]:
        """Do it. Cancelling it takes away what was made.

        :return: what there is to say of it, in lines.
        :raises UsageError: when the plan cannot be followed.
        :raises BuildError: when nothing is made.
        """
        p = self._plan
        place = Place(p.folder, p.name, force=p.force)
        place.check()
        # From here on an interrupt is the reactor's.
        await deferLater(self._reactor, 0)
        with place:
            await fetch_tokenizer(p.configuration, self._environ, self._reactor)
            path = p.source
            if isinstance(path, HubFile):
                path = await fetch_input(path, p.configuration, self._environ, self._reactor, self._defer_to_thread)
            try:
                file = path.open("rb")
            except OSError as error:
                raise BuildError(f"{path} cannot be read: {error.strerror}") from None
            with file:
                facts = await self._build(place, _source(path, file))
            place.write(CARD, facts.card())
            place.settle()
        self._progress.clear()
        return [*facts.summary(place.paths, self._progress.seconds)]

    async def _build(self, place: Place, source: Source) -> Facts:
        try:
            clocks = Clocks.same(self._reactor)
            tokenizer = make_tokenizer(self._plan.configuration, self._environ, clocks, self._defer_to_thread)
        except SystemExit as error:
            raise BuildError(str(error.code).removeprefix("vllmsim: cannot start: ")) from None
        try:
            return await self._fill(place, source, tokenizer)
        finally:
            await tokenizer.close()

    async def _fill(self, place: Place, source: Source, tokenizer: ITokenizer) -> Facts:
        p = self._plan
        self._progress.total = source.size
        server = None if p.recorded is None else _server(self._reactor, p.recorded, p.model)
        width = 1 if p.recorded is None else p.recorded.concurrency
        with Writer(place.draft(DATABASE), place.draft(LISTING), p.table, p.index) as writer:
            builder = Builder(p.wishes, tokenizer, server, width, writer, self._progress, self._reactor)
            await builder.build(source)
            if not writer.count:
                raise BuildError(f"no record can be made of {source.name}{_reasons(builder)}")
            await _to_its_end(self._defer_to_thread(writer.finish), writer.interrupt)
        answers = "the input's own"
        tokens = _described(p.configuration, tokenizer)
        if p.recorded is not None and server is not None:
            answers = f"recorded from {server.model} at {p.recorded.shown}"
            tokens = tokens if builder.warned else "as the server tells them"
        return Facts(
            name=p.name,
            table=p.table,
            index=p.index,
            source=source.name,
            answers=answers,
            tokenizer=tokens,
            records=writer.count,
            chats=builder.chats,
            tokens=writer.tokens,
            longest=writer.longest,
            skipped=builder.skipped,
        )


def _described(c: Configuration, tokenizer: ITokenizer) -> str:
    """Name a tokenizer: as it was asked for, but for folders of this machine, and its class."""
    name = "" if c.force_dummy_tokenizer else c.tokenizer
    if name and kind_of_tokenizer(name) == "path":
        name = Path(name).resolve().name
    kind = str(tokenizer.describe()["tokenizer_class"])
    return f"{name} ({kind})" if name else kind


def _source(path: Path, file: BinaryIO) -> Source:
    # Of a pipe nobody knows how long it is.
    size = path.stat().st_size if path.is_file() else None
    return Source(path.name, file, size)


def _server(reactor: Any, recorded: Recorded, model: str) -> Server:
    # What nobody needs who records nothing.
    from treq.client import HTTPClient  # noqa: PLC0415
    from twisted.web.client import Agent, HTTPConnectionPool  # noqa: PLC0415
    from twisted.web.http_headers import Headers  # noqa: PLC0415

    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = recorded.concurrency
    client = HTTPClient(Agent(reactor, pool=pool))
    headers = Headers({"Authorization": [f"Bearer {recorded.api_key}"]} if recorded.api_key else {})
    return Server(
        client, reactor, recorded.address, headers, recorded.max_tokens, recorded.timeout, recorded.retries, model
    )


def _reasons(builder: Builder) -> str:
    return f": {'; '.join(counted(builder.skipped))}" if builder.skipped else ", which is empty"


async def _to_its_end(thread: Deferred[None], interrupt: Callable[[], None]) -> None:
    """Wait for a thread, and if the wait is cancelled interrupt it and wait all the same."""
    ended: Deferred[None] = Deferred()
    waiting: Deferred[None] = Deferred(lambda _: interrupt())

    def end(result: Failure | None) -> None:
        ended.callback(None)
        if not waiting.called:
            waiting.callback(result)

    thread.addBoth(end)
    try:
        await waiting
    except CancelledError:
        await ended
        raise
