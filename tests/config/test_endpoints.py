"""Endpoint strings, taken apart."""

from twisted.internet.endpoints import _parse, quoteStringArgument  # what Twisted itself reads them with
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.endpoints import endpoint_words


class EndpointTests(SynchronousTestCase):
    """Words of endpoint strings."""

    def test_as_twisted(self) -> None:
        """They are read as Twisted reads them."""
        for text in (
            "tcp:80",
            "tcp:port=80:interface=127.0.0.1",
            r"tcp6:80:interface=\:\:1",
            r"unix:/run/a\:b\\c:mode=660",
            "x:a=b=c::d=:=e:",
            "",
            f"ssl:1:privateKey={quoteStringArgument('C:' + chr(92) + 'key')}",
        ):
            words = endpoint_words(text)
            positional, named = _parse(text)
            self.assertEqual((positional, named), ([words.kind, *words.positional], words.named), text)

    def test_cut_off(self) -> None:
        """One that ends with a backslash is none."""
        self.assertRaises(ValueError, endpoint_words, "tcp:80\\")
