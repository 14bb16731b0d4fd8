# -*- test-case-name: tests.assembly.test_speaking -*-
"""HTTP/2 and gRPC, which a rank learns when the first connection wants to speak them.

What they take is imported in a thread then: an eighth of a second that no start spends, and during which others are
served.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred

from vllmsim.assembly.once import Once
from vllmsim.config.schema import Configuration

if TYPE_CHECKING:
    from vllmsim.assembly.surfaces import Surfaces
    from vllmsim.grpc.root import CallRoot
    from vllmsim.web.http2.connection import Http2

_PACKAGES: Final = ("h2", "google.protobuf", "smg_grpc_proto")
_HTTP2: Final = "vllmsim.web.http2.connection"
_CALLS: Final = "vllmsim.assembly.calls"
_TELLING: Final = "vllmsim.grpc.telling"


class GrpcError(SystemExit):
    """gRPC cannot be spoken: ends the program with status 1 and one line that says why."""

    def __init__(self, package: str) -> None:
        super().__init__(f"vllmsim: grpc needs the package {package!r}: pip install 'vllmsim[grpc]'")


def can_speak(wanted: bool | None) -> bool:
    """Tell whether HTTP/2 is spoken.

    :param wanted: what the configuration says; None for where it can be.
    :raises GrpcError: when it is wanted and cannot be.
    """
    if wanted is False:
        return False
    missing = next((name for name in _PACKAGES if not _is_there(name)), None)
    if missing is not None and wanted:
        raise GrpcError(missing)
    return missing is None


def learn_speaking(
    c: Configuration, surfaces: "Surfaces | None", defer_to_thread: Callable[..., Deferred[Any]]
) -> "Speaking | None":
    """Make what finds HTTP/2 for a site, if it is to be spoken.

    :param surfaces: what calls are answered with, for a site that has any.
    :raises GrpcError: when it is to be spoken and cannot be.
    """
    if not can_speak(c.grpc):
        return None
    # A server that only encodes media has nothing to call.
    return Speaking(None if c.mm_encoder_only else surfaces, defer_to_thread)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@define(eq=False)
class Speaking:
    """Finds what speaks HTTP/2, and gRPC with it where there is anything to call.

    :param surfaces: what calls are answered with; None for a site that has none.
    :param defer_to_thread: runs a function off the reactor.
    """

    _surfaces: "Surfaces | None"
    _defer_to_thread: Callable[..., Deferred[Any]]
    _modules: Once[list[Any]] = field(init=False)
    _http2: "Http2 | None" = field(init=False, default=None)
    _calls: "CallRoot | None" = field(init=False, default=None)

    @_modules.default
    def _find_modules(self) -> Once[list[Any]]:
        names = [_HTTP2] if self._surfaces is None else [_HTTP2, _CALLS, _TELLING]
        return Once(self._defer_to_thread, lambda: [import_module(name) for name in names])

    def __call__(self) -> "Deferred[Http2]":
        """Find it.

        :return: fires when it is there, at once when it has been found before.
        """
        return self._modules().addCallback(self._make)

    def working(self) -> frozenset[str]:
        """List the paths of calls for which the model works; none before the first connection."""
        return frozenset() if self._calls is None else self._calls.working()

    def _make(self, modules: Sequence[Any]) -> "Http2":
        """Make it, for the first who asks: in the reactor's thread, as what changes live is watched here."""
        if self._http2 is None:
            http2: type[Http2] = modules[0].Http2
            if self._surfaces is None:
                self._http2 = http2()
            else:
                self._calls = modules[1].call_root(self._surfaces)
                self._http2 = http2(modules[2].CallsOrRequests(self._calls))
        return self._http2
