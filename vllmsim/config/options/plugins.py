# -*- test-case-name: tests.config.test_schema -*-
"""What others have added to the program, as far as no option of ours names it already."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vllmsim.config.kinds import Json, List
from vllmsim.config.option import option
from vllmsim.config.pluginnames import PUBLISHERS, PluginName


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class PluginOptions:
    """What others have added to the program."""

    # fmt: off
    failure_plugins: tuple[str, ...] = option("plugins", List(item=PluginName()), (),
        "Plugins that make requests fail, asked in this order when no failure of ours has hit a request.", live=True)
    kv_events_publisher: str = option("plugins", PluginName(PUBLISHERS), "zmq",
        "Who publishes KV events: zmq, null for nobody, or a plugin; kv-events-config has a member of its own for it.")
    plugin_options: Mapping[str, Any] | None = option("plugins", Json(), None,
        "Options of plugins: by the name of each, a map. Those of plugins that are made once for the life of the server"
        " cannot change live.", live=True)
    # fmt: on
