"""Plugins for tests: modules in a folder of their own, which are there for one test."""

import sys
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

import vllmsim.plugins
from tests.folders import make_folder

HEAD = """
from attrs import define, field, frozen
from twisted.plugin import IPlugin
from zope.interface import implementer
from vllmsim.faults import Fault
from vllmsim.inference import TokenizedPrompt, Tokens
from vllmsim.interfaces import *
from vllmsim.interfaces.plugins import *

@frozen
class Factory:
    name: str
    create: object
    help: str = "Is made for a test."

def offer(seam, name, create):
    return implementer(IPlugin, seam)(type("Offer", (Factory,), {}))(name, create)
"""
"""What every module begins with, unless it is to be without."""


def drop_in(case: SynchronousTestCase, *, head: str = HEAD, **modules: str) -> str:
    """Have modules be among the plugins until the test ends.

    :param modules: by name, their text.
    :return: the folder that they are in.
    """
    path = make_folder(case)
    for name, text in modules.items():
        path.joinpath(f"{name}.py").write_text(head + dedent(text))
    vllmsim.plugins.__path__.append(str(path))

    def remove() -> None:
        vllmsim.plugins.__path__.remove(str(path))
        for name in modules:
            sys.modules.pop(f"{vllmsim.plugins.__name__}.{name}", None)
            if hasattr(vllmsim.plugins, name):
                delattr(vllmsim.plugins, name)

    case.addCleanup(remove)
    return str(path)
