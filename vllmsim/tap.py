# -*- test-case-name: tests.test_tap -*-
"""The ``twistd vllmsim`` command: from words on a command line to a tree of services."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from twisted.application.service import MultiService
from twisted.python import usage

from vllmsim import __version__
from vllmsim.config.arguments import Arguments, scan
from vllmsim.config.listing import help_text, print_config
from vllmsim.config.loading import ConfigurationError, Loaded, load
from vllmsim.config.plugins import has_plugins
from vllmsim.config.problems import Problem
from vllmsim.daemon import build_daemon
from vllmsim.printing import print_out


class Options(usage.Options):
    """The command line, read by our own rules: see :mod:`vllmsim.config.arguments`."""

    arguments: Arguments
    loaded: Loaded

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the words, the file and the environment; print and exit where that is asked for.

        :raises SystemExit: with status 1 and every problem, when the configuration is wrong.
        """
        self.arguments = arguments = scan(sys.argv[1:] if options is None else options)
        if "help" in arguments.requests:
            _print(help_text(arguments.topic))
        if "version" in arguments.requests:
            _print(f"vllmsim {__version__}\n")
        if "help-plugins" in arguments.requests:
            from vllmsim.plugins.listing import plugins_text  # noqa: PLC0415 - it imports all that there is

            _print(plugins_text())
        try:
            self.loaded = load(arguments, os.environ)
            _require_plugins(self.loaded)
        except ConfigurationError as error:
            sys.stderr.write(f"vllmsim: {error}\n")
            raise SystemExit(1) from None
        if "print-config" in arguments.requests:
            _print(print_config(self.loaded))
        if "check-config" in arguments.requests:
            _print("")

    def __str__(self) -> str:
        return help_text()


def _require_plugins(loaded: Loaded) -> None:
    """Make sure that there are the plugins that a configuration names.

    :raises ConfigurationError: when there are not.
    """
    if has_plugins(loaded.configuration):
        from vllmsim.plugins.naming import missing_plugins  # noqa: PLC0415 - few servers have plugins

        faults = missing_plugins(loaded.configuration)
        problems = [Problem(name, fault, loaded.values[name][1], name) for name, fault in faults]
        if problems:
            raise ConfigurationError(problems)


def _print(text: str) -> NoReturn:
    raise SystemExit(print_out(text))


def makeService(options: Options) -> MultiService:
    """Build the daemon.

    :raises vllmsim.listening.StartError: when it cannot listen.
    :raises SystemExit: when something else that is asked for cannot be; the message says why.
    """
    return build_daemon(options.arguments, options.loaded, getattr(options, "parent", None) or {}, os.environ)
