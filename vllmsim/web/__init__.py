"""Delivery over HTTP: routes, sinks and the server itself.

Twisted looks for h2 when its own server is imported, to offer HTTP/2 with it. That is another than ours
(:mod:`vllmsim.web.http2`), nobody here uses it, and it would take a start 20 ms: so it finds none.
"""

import sys

_hidden = "h2" not in sys.modules
if _hidden:
    # As Python has it for modules that cannot be imported.
    sys.modules["h2"] = None  # type: ignore[assignment]
try:
    import twisted.web.http  # noqa: F401
finally:
    if _hidden:
        del sys.modules["h2"]
