"""Where plugins are: modules that others put here, or into a folder ``vllmsim/plugins`` anywhere on Python's path.

Such a folder has no ``__init__.py``, and neither has the one above it; see :mod:`vllmsim.interfaces.plugins` for what
the modules have in them. The modules of our own find plugins, and say what there is.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
