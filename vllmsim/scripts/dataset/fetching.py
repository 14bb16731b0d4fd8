# -*- test-case-name: tests.integration.test_dataset_command -*-
"""What must be there before the work begins: an input on a hub, and the tokenizer.

A dataset's file is at ``ENDPOINT/datasets/OWNER/NAME/resolve/main/FILE``, and is kept in the user's cache: the next
start finds it there, and goes on with what one that was interrupted has of it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from vllmsim.config.schema import Configuration
from vllmsim.preparing import Unprepared, get, needs
from vllmsim.scripts.dataset.faults import BuildError
from vllmsim.scripts.dataset.options import HubFile
from vllmsim.tokenization.hub.cache import hub_access


async def fetch_tokenizer(configuration: Configuration, environ: Mapping[str, str], reactor: Any) -> None:
    """Have the tokenizer that is configured on this machine.

    :raises BuildError: when it cannot be had.
    """
    try:
        needed = needs(configuration, environ)
        if needed:
            await get(needed, configuration, environ, reactor)
    except (Unprepared, ValueError) as error:
        raise BuildError(str(error)) from None


async def fetch_input(
    file: HubFile,
    configuration: Configuration,
    environ: Mapping[str, str],
    reactor: Any,
    defer_to_thread: Callable[..., Deferred[Any]],
) -> Path:
    """Have an input on this machine.

    :param configuration: has the token for the hub, if there is one.
    :return: where it is.
    :raises BuildError: when it cannot be had.
    """
    # What nobody needs who downloads nothing.
    from vllmsim.downloading.download import Downloader, Wanted  # noqa: PLC0415
    from vllmsim.downloading.web import DownloadError, Remote, web_client  # noqa: PLC0415

    path = _cache(environ) / "datasets" / file.repository / file.name
    access = hub_access(configuration, environ)
    if access.offline and not path.exists():
        raise BuildError(f"{file.name} is not at {path}, and HF_HUB_OFFLINE forbids to download it")
    url = f"{access.endpoint}/datasets/{file.repository}/resolve/main/{quote(file.name)}"
    wanted = Wanted(Remote(url, access.token), Path(file.name).name)
    try:
        await Downloader(web_client(reactor), defer_to_thread).fetch(wanted, path)
    except DownloadError as error:
        raise BuildError(str(error)) from None
    return path


def _cache(environ: Mapping[str, str]) -> Path:
    """Find the folder of what can be had again."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vllmsim"
