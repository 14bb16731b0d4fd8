# -*- test-case-name: tests.test_models -*-
"""Which model names are served."""

from collections.abc import Sequence

from attrs import frozen
from zope.interface import implementer

from vllmsim.errors import UnknownModel
from vllmsim.interfaces import IModelCatalogue


@implementer(IModelCatalogue)
@frozen(eq=False)
class ModelCatalogue:
    """The base model under its served names.

    :param root: the model's path or hub id.
    :param names: what requests may call it, at least one; answers carry the first.
    """

    _root: str
    _names: tuple[str, ...]

    def resolve(self, name: str | None) -> str:
        """Find the first served name for any of them, or for no name at all."""
        if name is None or name in self._names:
            return self._names[0]
        raise UnknownModel(
            f"The model `{name}` does not exist. Valid aliases: {', '.join(self._names)}.", param="model"
        )

    def cards(self) -> Sequence[tuple[str, str, str | None]]:
        """List the served names."""
        return [(name, self._root, None) for name in self._names]
