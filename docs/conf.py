"""Sphinx configuration: the pages that come from the program are written before the build."""

from pathlib import Path

from vllmsim import __version__
from vllmsim.config.listing import options_table

project = "vllmsim"
author = "the vllmsim developers"
version = release = __version__
exclude_patterns = ["_build", "generated"]
html_theme = "alabaster"
nitpicky = True

_generated = Path(__file__).with_name("generated")
_generated.mkdir(exist_ok=True)
_generated.joinpath("options.rst").write_text(options_table(), "utf-8")
