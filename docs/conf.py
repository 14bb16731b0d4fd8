"""Sphinx configuration: the pages that come from the program are written before the build."""

from pathlib import Path

from vllmsim import __version__
from vllmsim.config.listing import options_table
from vllmsim.presets.listing import presets_tables

project = "vllmsim"
author = "the vllmsim developers"
version = release = __version__
exclude_patterns = ["_build", "generated"]
html_theme = "alabaster"
nitpicky = True

_generated = Path(__file__).with_name("generated")
_generated.mkdir(exist_ok=True)
for _name, _text in {"options.rst": options_table(), **presets_tables()}.items():
    _generated.joinpath(_name).write_text(_text, "utf-8")
