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
    _watchers: list[Callable[[Adapter], object]] = field(init=False, factory=list)
    loaded: Callable[[Adapter], float] = field(init=False, default=lambda _: 0.0)
    """Hears of each adapter that clients load, and tells in how many seconds it is there."""

    def watch(self, unloaded: Callable[[Adapter], object]) -> None:
        """Have someone hear of each adapter that is served no more."""
        self._watchers.append(unloaded)

    def add(self, name: str, path: str, base: str | None) -> Adapter:
        """Serve an adapter from the start. It is not in memory before it is used.

        :param path: where its weights would be; nowhere if empty.
        :param base: the model it adapts; None for the first served name.
        """
        known = self._adapters.get(name)
        if known is None:
            self._loaded += 1
        number = self._loaded if known is None else known.number
        adapter = self._adapters[name] = Adapter(name, path or name, base or self._names[0], number)
        if known is not None and known.path != adapter.path:
            self._tell(known)
        return adapter

    def load(self, name: str, path: str, in_place: bool, *, found: bool = True) -> float:
        """Serve an adapter; see :class:`vllmsim.interfaces.IAdapterRegistry`."""
        if not name or not path:
            raise InvalidUserInput("Both 'lora_name' and 'lora_path' must be provided.")
        if max(len(name), len(path)) > _LONGEST:
            raise InvalidUserInput(f"Name and path of a LoRA adapter must have at most {_LONGEST} characters.")
        if name in self._names:
            raise InvalidUserInput(f"The lora adapter name '{name}' conflicts with a served base model.")
        if name in self._adapters and not in_place:
            raise InvalidUserInput(
                f"The lora adapter '{name}' has already been loaded. "
                "If you want to load the adapter in place, set 'load_inplace' to True."
            )
        if name not in self._adapters and len(self._adapters) >= _MOST:
            raise InvalidUserInput(f"There are {_MOST} LoRA adapters already; unload one first.")
        if not found:
            raise UnknownAdapter(f"Loading lora {name} failed: No adapter found for {path}")
        return self.loaded(self.add(name, path, None))

    def unload(self, name: str) -> None:
        """Serve an adapter no more; see :class:`vllmsim.interfaces.IAdapterRegistry`."""
        if not name:
            raise InvalidUserInput("'lora_name' needs to be provided to unload a LoRA adapter.")
        adapter = self._adapters.pop(name, None)
        if adapter is None:
            raise UnknownAdapter(f"The lora adapter '{name[:_LONGEST]}' cannot be found.")
        self._tell(adapter)

    def adapter(self, name: str) -> Adapter | None:
        """Find the adapter of a name; see :class:`vllmsim.interfaces.IModelCatalogue`."""
        return self._adapters.get(name)

    def use(self, name: str) -> Adapter | None:
        """Find the adapter that a request uses; see :class:`vllmsim.interfaces.IModelCatalogue`."""
        adapter = self._adapters.get(name)
        if adapter is None and name not in self._names:
            raise self._unknown(name)
        return adapter

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
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownModel:
        aliases = ", ".join(self._names)
        return UnknownModel(f"The model `{name}` does not exist. Valid aliases: {aliases}.", "model", name)

    def _tell(self, adapter: Adapter) -> None:
        for unloaded in self._watchers:
            unloaded(adapter)

    def cards(self) -> Sequence[tuple[str, str, str | None]]:
        """List the served names, and then the adapters in the order in which they were loaded."""
        names = [(name, self._root, None) for name in self._names]
        return [*names, *((each.name, each.path, each.parent) for each in self._adapters.values())]
