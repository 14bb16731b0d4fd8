# -*- test-case-name: tests.test_models -*-
"""Which model names are served: the base model's, and those of LoRA adapters."""

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.errors import InvalidUserInput, UnknownAdapter, UnknownModel
from vllmsim.inference import Adapter
from vllmsim.interfaces import IAdapterRegistry, IModelCatalogue

_LONGEST: Final = 1024
"""Most characters of a name or a path that clients may register."""
_MOST: Final = 1000
"""Most adapters that clients may register."""


@implementer(IModelCatalogue, IAdapterRegistry)
@define(eq=False)
class ModelCatalogue:
    """The base model under its served names, and its adapters, each under its own.

    :param root: the model's path or hub id.
    :param names: what requests may call it, at least one; answers carry the first.
    """

    _root: str
    _names: tuple[str, ...]
    _adapters: dict[str, Adapter] = field(init=False, factory=dict)
    _loaded: int = field(init=False, default=0)
    unloaded: Callable[[Adapter], object] = field(init=False, default=lambda _: None)
    """Hears of each adapter that is served no more."""

    def add(self, name: str, path: str, base: str | None) -> None:
        """Serve an adapter from the start.

        :param path: where its weights would be; nowhere if empty.
        :param base: the model it adapts; None for the first served name.
        """
        known = self._adapters.get(name)
        if known is None:
            self._loaded += 1
        number = self._loaded if known is None else known.number
        adapter = self._adapters[name] = Adapter(name, path or name, base or self._names[0], number)
        if known is not None and known.path != adapter.path:
            self.unloaded(known)

    def load(self, name: str, path: str, in_place: bool) -> None:
        """Serve an adapter; see :class:`vllmsim.interfaces.IAdapterRegistry`."""
        if not name or not path:
            raise InvalidUserInput("Both the name and the path of a LoRA adapter must be given.")
        if max(len(name), len(path)) > _LONGEST:
            raise InvalidUserInput(f"Name and path of a LoRA adapter must have at most {_LONGEST} characters.")
        if name in self._names:
            raise InvalidUserInput(f"The name '{name}' is taken by the base model.")
        if name in self._adapters and not in_place:
            raise InvalidUserInput(f"The LoRA adapter '{name}' is already loaded; load_inplace replaces it.")
        if name not in self._adapters and len(self._adapters) >= _MOST:
            raise InvalidUserInput(f"There are {_MOST} LoRA adapters already; unload one first.")
        self.add(name, path, None)

    def unload(self, name: str) -> None:
        """Serve an adapter no more; see :class:`vllmsim.interfaces.IAdapterRegistry`."""
        adapter = self._adapters.pop(name, None)
        if adapter is None:
            raise UnknownAdapter(f"The LoRA adapter '{name[:_LONGEST]}' is not loaded.")
        self.unloaded(adapter)

    def adapter(self, name: str) -> Adapter | None:
        """Find the adapter of a name; None for names of the base model, and for one that is served no more."""
        return self._adapters.get(name)

    def serves(self, adapter: Adapter) -> bool:
        """Tell whether an adapter of that name is served now, from the same path."""
        known = self._adapters.get(adapter.name)
        return known is not None and known.path == adapter.path

    def resolve(self, name: str | None) -> str:
        """Find the first served name for any of them, or for no name at all; an adapter's name is its own."""
        if not name or name in self._names:
            return self._names[0]
        if name in self._adapters:
            return name
        raise UnknownModel(
            f"The model `{name}` does not exist. Valid aliases: {', '.join(self._names)}.", "model", name
        )

    def cards(self) -> Sequence[tuple[str, str, str | None]]:
        """List the served names, and then the adapters in the order in which they were loaded."""
        names = [(name, self._root, None) for name in self._names]
        return [*names, *((each.name, each.path, each.parent) for each in self._adapters.values())]
