"""What administrators may change, and what takes whoever starts the server."""

import re

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.names import all_options
from vllmsim.config.schema import own_options

OUTWARD = re.compile(
    r"(^|-)(url|path|endpoint|dir|backend|host|port|uds|listen|publisher|tokenizer|template|certfile|keyfile|ca-certs"
    r"|model|revision|scenario|datasets|request-log|config)$|-file$"
)
"""How options are called that lead to other machines, to files, or to code."""
CLOSING = {
    *(
        "server-dev-mode",
        "trust-request-chat-template",
        "allow-runtime-lora-updating",
        "enable-scale-out",
        "tokens-only",
    ),
    *("admin-endpoint", "admin-api-key", "ssl-cert-reqs", "ssl-ca-certs", "kv-events-publisher", "mode"),
    *("enable-responses-store", "enable-tokenizer-info-endpoint", "disable-fastapi-docs", "root-path", "hf-token"),
}
"""Options that open something, or let strangers in."""


class LiveOptionTests(SynchronousTestCase):
    """Options that change while the server runs, by routes, scenarios and SIGHUP."""

    def test_outward(self) -> None:
        """None leads to another machine, another file or other code, but the one that names a file with keys."""
        outward = {option.name for option in own_options() if OUTWARD.search(option.name)}
        self.assertGreater(len(outward), 25)
        live = {option.name for option in own_options() if option.live}
        self.assertEqual({"api-key-file"}, outward & live)
        reading = {option.name for option in all_options() if option.files and not option.inline}
        self.assertEqual({"api-key-file", "tenants"}, reading)

    def test_closing(self) -> None:
        """None opens what was closed at the start, or lets in who was kept out, but keys themselves and the chain."""
        options = {option.name: option for option in own_options()}
        for name in CLOSING:
            self.assertFalse(options[name].live, name)

    def test_secret(self) -> None:
        """Whatever is called like a secret is one, and shown to nobody."""
        called = {option.name for option in own_options() if re.search("(api-key|[a-z]+-token|passw.*)$", option.name)}
        secret = {option.name for option in own_options() if option.secret}
        self.assertEqual({"kv-cache-backend", "tenants"}, secret - called)
        # The others are tokens of a model.
        times = re.compile("per-(prefill-|cached-)?token$|first-token$")
        self.assertEqual([], [name for name in called - secret if not times.search(name)])
