# -*- test-case-name: tests.test_interfaces -*-
"""Which models there are, and which adapters have room."""

from collections.abc import Callable, Sequence

from zope.interface import Interface

from vllmsim.inference import Adapter


class IModelCatalogue(Interface):
    """Which names requests may use."""

    def resolve(name: str | None) -> str:
        """Find the name under which a model answers.

        :param name: what the request says; None or nothing for the base model.
        :return: the first served name, or the adapter's own.
        :raises vllmsim.errors.UnknownModel: when nothing is served under `name`.
        """

    def adapter(name: str) -> Adapter | None:
        """Find the adapter of a name; None for names of the base model, and for one that is served no more."""

    def use(name: str) -> Adapter | None:
        """Find the adapter of a name that :meth:`resolve` gave; None for that of the base model.

        :raises vllmsim.errors.UnknownModel: when it has been unloaded since.
        """

    def cards() -> Sequence[tuple[str, str, str | None]]:
        """List what is served, base names first.

        :return: for each its name, its root path, and the name of its parent, which a base model has not.
        """


class IAdapterRegistry(Interface):
    """The LoRA adapters that requests may use as models. Nothing is read from their paths."""

    def load(name: str, path: str, in_place: bool, *, found: bool = True) -> float:
        """Serve an adapter, and put it into memory.

        :param path: where its weights would be.
        :param in_place: whether it may take the place of one of that name.
        :param found: whether there is anything at the path.
        :return: in how many seconds it is there.
        :raises vllmsim.errors.InvalidUserInput: when the name is taken, or name or path will not do.
        :raises vllmsim.errors.UnknownAdapter: when there is nothing at the path.
        """

    def unload(name: str) -> None:
        """Serve an adapter no more; requests that have been let in go on.

        :raises vllmsim.errors.InvalidUserInput: when there is no name.
        :raises vllmsim.errors.UnknownAdapter: when none has that name.
        """


class IAdapterSlots(Interface):
    """The LoRA adapters that are on the GPU, where a bounded number has a place each. Of adapters the number counts.

    An adapter is in use while a sequence runs with it. One that is in a slot and not in use gives way to others.
    """

    def holds(adapter: Adapter) -> bool:
        """Tell whether an adapter is in a slot."""

    def loadable() -> bool:
        """Tell whether one that is in no slot would get one now: an empty one, or that of an adapter not in use."""

    def occupy(adapter: Adapter) -> float:
        """Use an adapter for one more sequence. It must be in a slot, or :meth:`loadable` be true.

        :return: when its weights are there, by the clock of who made the slots; that may be past.
        """

    def release(adapter: Adapter) -> None:
        """Use it for one sequence fewer."""

    def settle(adapter: Adapter) -> None:
        """Learn that no sequence waits for it: if none runs with it either, and it is unloaded, it is gone."""

    def clear() -> None:
        """Have adapters that are not in use be on disk alone, as if the server had just been started."""

    def watch(evicted: Callable[[Adapter], object]) -> None:
        """Have someone hear of each adapter that loses its slot, while it is in use by nobody."""
