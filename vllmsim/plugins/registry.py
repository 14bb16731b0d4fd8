# -*- test-case-name: tests.plugins.test_registry -*-
"""Finds plugins by seam and name, and makes what they are for.

Twisted's own search imports what it finds too, but remembers it in a file beside the modules, which an installed
program may not write, and shows a traceback for each module that breaks, whoever wants it. Here modules are imported
whenever somebody asks for a plugin, which is once or twice in the life of a server, and only who misses one hears of
those that break.
"""

import difflib
import importlib
import pkgutil
import traceback
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, TypeVar

from attrs import define, evolve, field, frozen
from twisted.plugin import IPlugin
from zope.interface import Interface
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

import vllmsim.plugins
from vllmsim.config.pluginnames import is_plugin_name
from vllmsim.interfaces import IBlockEventOutlet, IFailure, ILatencyModel, IResponseSource, IStepTime, ITokenizer
from vllmsim.interfaces.middleware import IMiddleware
from vllmsim.interfaces.plugins import (
    IBlockEventPublisherFactory,
    IFactory,
    IFailureFactory,
    ILatencyModelFactory,
    IMiddlewareFactory,
    IResponseSourceFactory,
    IStepTimeFactory,
    ITokenizerFactory,
    Surroundings,
)
from vllmsim.plugins.ours import OURS

_LONGEST_NAME: Final = 64
_LONGEST_REASON: Final = 300

T = TypeVar("T", bound=Surroundings)


class PluginError(ValueError):
    """A plugin cannot be had; the text is a sentence for the user, without its end."""


@frozen
class Seam:
    """A place where plugins go.

    :param kind: what is there, as messages call one.
    :param product: what its factories make.
    """

    kind: str
    product: type[Interface]


SEAMS: Final[Mapping[type[IFactory], Seam]] = {
    IResponseSourceFactory: Seam("response source", IResponseSource),
    ILatencyModelFactory: Seam("latency model", ILatencyModel),
    IStepTimeFactory: Seam("step time", IStepTime),
    ITokenizerFactory: Seam("tokenizer", ITokenizer),
    IFailureFactory: Seam("failure", IFailure),
    IBlockEventPublisherFactory: Seam("publisher of KV events", IBlockEventOutlet),
    IMiddlewareFactory: Seam("middleware", IMiddleware),
}


@frozen(eq=False)
class Plugin:
    """A plugin that has been found.

    :param file: where it comes from.
    """

    seam: type[IFactory]
    name: str
    help: str
    factory: Any
    file: str


@frozen
class Broken:
    """Something that is no plugin, where one should be.

    :param file: where it is.
    :param reason: what is wrong with it, as a sentence without its end.
    """

    file: str
    reason: str


@define(eq=False)
class _Options(Mapping[str, Any]):
    """A plugin's options, which remember who was looked at."""

    _values: Mapping[str, Any]
    _asked: dict[str, None] = field(init=False, factory=dict)

    def __getitem__(self, name: str) -> Any:
        self._asked[name] = None
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def fault(self) -> str | None:
        """Name the first option that nobody has looked at."""
        left = next((name for name in self._values if name not in self._asked), None)
        if left is None:
            return None
        return f"{left[:_LONGEST_NAME]!r} is no option of it" + _hint(left, self._asked)


def search() -> tuple[list[Plugin], list[Broken]]:
    """Import all modules where plugins are.

    :return: the plugins, in the order of their modules' names, and the modules and objects that are none.
    """
    importlib.invalidate_caches()
    found: dict[tuple[int, type[IFactory]], Plugin] = {}
    broken: list[Broken] = []
    for module in pkgutil.iter_modules(vllmsim.plugins.__path__, f"{vllmsim.plugins.__name__}."):
        finder: Any = module.module_finder
        file = f"{getattr(finder, 'path', '?')}/{module.name.rpartition('.')[2]}"
        try:
            loaded = importlib.import_module(module.name)
            file = loaded.__file__ or file
            for each in _plugins(loaded, file):
                if isinstance(each, Broken):
                    broken.append(each)
                else:
                    found.setdefault((id(each.factory), each.seam), each)
        except BaseException as error:  # noqa: BLE001 - whatever strangers' modules raise
            broken.append(Broken(_spelled(module, file), tell(error)))
    return list(found.values()), broken


def find(seam: type[IFactory], name: str) -> Plugin:
    """Find a plugin.

    :param seam: one of the interfaces of :mod:`vllmsim.interfaces.plugins`.
    :raises PluginError: when there is none of that name, or more than one.
    """
    found, broken = search()
    here = [each for each in found if each.seam is seam]
    named = [each for each in here if each.name == name]
    if len(named) == 1:
        return named[0]
    kind = SEAMS[seam].kind
    if named:
        raise PluginError(f"more than one {kind} is called {name!r}: in {' and in '.join(each.file for each in named)}")
    known = [*OURS[seam], *dict.fromkeys(each.name for each in here)]
    there = f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}" if known else "there is none at all"
    text = f"there is no {kind} {name[:_LONGEST_NAME]!r}; {there}{_hint(name, known)}"
    raise PluginError("; ".join([text, *(f"{each.file} is broken: {each.reason}" for each in broken)]))


def create(seam: type[IFactory], name: str, surroundings: Surroundings) -> Any:
    """Find a plugin, and have it make what it is for.

    :return: what provides the seam's interface.
    :raises PluginError: when there is no such plugin, or it does not make one.
    """
    return make(find(seam, name), surroundings)


def make(plugin: Plugin, surroundings: T) -> Any:
    """Have a plugin make what it is for.

    :raises PluginError: when it does not.
    """
    kind = SEAMS[plugin.seam].kind
    options = _Options(surroundings.options)
    try:
        made = plugin.factory.create(evolve(surroundings, options=options))
        fault = _fault(plugin.seam, made)
    except ValueError as error:
        raise PluginError(f"the {kind} {plugin.name} says: {_line(_words(error) or type(error).__name__)}") from error
    except BaseException as error:
        raise PluginError(f"the {kind} {plugin.name} in {plugin.file} cannot be made: {tell(error)}") from error
    if fault:
        raise PluginError(f"the {kind} {plugin.name} in {plugin.file} makes {fault}")
    if fault := options.fault():
        raise PluginError(f"the {kind} {plugin.name} says: {fault}")
    return made


def _fault(seam: type[IFactory], made: object) -> str | None:
    """Say what is wrong with what a factory has made."""
    product = SEAMS[seam].product
    if not product.providedBy(made):
        return f"no {product.__name__}"
    try:
        verifyObject(product, made)
    except Invalid as error:
        return f"half of one: {_line(str(error))}"
    return None


def tell(error: BaseException) -> str:
    """Say on a line what has been raised, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{_line(f'{type(error).__name__}: {_words(error)}')}{where}"


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as another:  # noqa: BLE001 - it is as much a stranger's as the first
        return f"it cannot be told, but raises {type(another).__name__}"


def _line(text: str) -> str:
    line = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


def _hint(name: str, known: Collection[str]) -> str:
    matches = difflib.get_close_matches(name[:_LONGEST_NAME], known, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


def _spelled(module: pkgutil.ModuleInfo, file: str) -> str:
    """Find the file of a module that cannot be imported."""
    spec = module.module_finder.find_spec(module.name, None)
    return (spec.origin if spec is not None else None) or file


def _plugins(module: Any, file: str) -> Iterator[Plugin | Broken]:
    for variable, value in list(vars(module).items()):
        if not IPlugin.providedBy(value):
            continue
        seams = [seam for seam in SEAMS if seam.providedBy(value)]
        name: Any
        name, help_ = getattr(value, "name", None), getattr(value, "help", None)
        if not seams:
            yield Broken(file, f"{variable} is a plugin, and no factory of any kind")
        elif not is_plugin_name(name):
            yield Broken(file, f"{variable} has no name that a plugin can have")
        elif any(name in OURS[seam] for seam in seams):
            yield Broken(file, f"{variable} is called {name}, as one of the program's own")
        else:
            told = _line(help_) if isinstance(help_, str) else ""
            for seam in seams:
                yield Plugin(seam, name, told, value, file)
