# -*- test-case-name: tests.test_preparing -*-
"""What must be there before ranks can be built, and the service that gets it.

A daemon that has all it needs is built at once, and this has no part in it. One that must download something first
builds its ranks afterwards: its ports open when everything is there, and clients never see half of it.
"""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen
from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from vllmsim.config.datasets import Dataset
from vllmsim.config.schema import Configuration
from vllmsim.leaving import leave_with
from vllmsim.tokenization.choice import choose
from vllmsim.tokenization.hub.cache import HubModel, hub_access, hub_cache, token_for


class Unprepared(Exception):
    """Something cannot be had; its text is one sentence for the log."""


@frozen
class Needs:
    """What is not there yet. False when nothing is missing.

    :param tokenizer: the model of the hub whose tokenizer is wanted.
    :param datasets: those with an address.
    """

    tokenizer: HubModel | None = None
    datasets: tuple[Dataset, ...] = ()

    def __bool__(self) -> bool:
        return self.tokenizer is not None or bool(self.datasets)

    def __str__(self) -> str:
        names = [f"the dataset {Path(each.path).name}" for each in self.datasets]
        if self.tokenizer is not None:
            names.insert(0, f"the tokenizer of {self.tokenizer}")
        return ", ".join(names)


def needs(configuration: Configuration, environ: Mapping[str, str]) -> Needs:
    """Find out what must be downloaded. It looks at files, and asks nobody.

    :param environ: the environment.
    :raises ValueError: when the tokenizer that is configured is gone.
    """
    c = configuration
    listed = [] if c.mm_encoder_only else [c.usual_dataset, *c.model_datasets.values()]
    # Several models may have one dataset.
    missing = {each.path: each for each in listed if each is not None and each.url and not Path(each.path).exists()}
    return Needs(choose(c, environ).model, tuple(missing.values()))


async def get(needed: Needs, configuration: Configuration, environ: Mapping[str, str], reactor: Any) -> None:
    """Download what is missing.

    :param reactor: provides time, connections and a thread pool.
    :raises Unprepared: when it cannot be had.
    """
    # They take a tenth of a second, which a start without downloads can do without.
    from twisted.internet.threads import deferToThreadPool  # noqa: PLC0415

    from vllmsim.dataset.database import look  # noqa: PLC0415
    from vllmsim.downloading.download import Downloader, Wanted  # noqa: PLC0415
    from vllmsim.downloading.web import DownloadError, Remote, web_client  # noqa: PLC0415
    from vllmsim.tokenization.hub.download import HubDownload  # noqa: PLC0415

    downloader = Downloader(web_client(reactor), partial(deferToThreadPool, reactor, reactor.getThreadPool()))
    access = hub_access(configuration, environ)
    try:
        if needed.tokenizer is not None:
            await HubDownload(downloader, access, hub_cache(configuration, environ)).fetch(needed.tokenizer)
        for dataset in needed.datasets:
            path = Path(dataset.path)
            remote = Remote(dataset.url, token_for(dataset.url, access))
            await downloader.fetch(Wanted(remote, path.name, dataset.sha256, look=look), path)
    except DownloadError as error:
        raise Unprepared(str(error)) from error


class Preparation(Service):
    """Gets what is missing, then has the daemon built beside it.

    :param get: gets it; what it raises as :class:`Unprepared` ends the daemon.
    :param build: adds services to their parent, which runs.
    :param reactor: is stopped when that does not work.
    :param leave: has the process end with a status when the reactor has stopped.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        get: Callable[[], Coroutine[Deferred[Any], Any, None]],
        build: Callable[[MultiService], object],
        reactor: Any,
        leave: Callable[[int], object] = leave_with,
    ) -> None:
        self._get = get
        self._build = build
        self._reactor = reactor
        self._leave = leave
        self._work: Deferred[None] | None = None

    def startService(self) -> None:
        """Begin, as soon as the reactor runs."""
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[None] | None:
        """Get nothing more.

        :return: fires when nothing of it is under way.
        """
        super().stopService()
        work = self._work
        if work is not None:
            work.cancel()
        return work

    def _begin(self) -> None:
        if self.running:
            self._work = Deferred.fromCoroutine(self._prepare())

    async def _prepare(self) -> None:
        try:
            await self._get()
        except CancelledError:
            self._log.info("Stopped before everything was there.")
            return
        except Unprepared as error:
            self._fail(str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no daemon without it
            self._log.failure("Getting what is missing went wrong.")
            self._fail(str(error))
            return
        # Not here, since what is built ends the program by an exception that a coroutine would keep.
        self._reactor.callLater(0, self._finish)

    def _finish(self) -> None:
        parent = self.parent
        if not self.running or parent is None:
            return
        try:
            self._build(parent)
        except SystemExit as error:
            self._fail(str(error.code).removeprefix("vllmsim: "))
        except Exception as error:  # noqa: BLE001 - likewise
            self._log.failure("Building the daemon went wrong.")
            self._fail(str(error))

    def _fail(self, why: str) -> None:
        self._log.critical("Cannot start: {why}.", why=why.rstrip("."))
        self._leave(1)
        with suppress(ReactorNotRunning):
            self._reactor.stop()
