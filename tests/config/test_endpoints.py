"""Endpoint strings, taken apart."""

from twisted.internet.endpoints import _parse, quoteStringArgument  # what Twisted itself reads them with
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.endpoints import endpoint_fault, endpoint_words


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

    def test_faults(self) -> None:
        """Wrong words of Twisted's endpoints are told in ours."""
        for endpoint, fault in {
            "tcp": "it names no port",
            "tcp:": "it names no port",
            "tcp:99999": "port must be a number of at most 65535, not '99999'",
            "tcp:-1": "port must be a number of at most 65535, not '-1'",
            "tcp:8000:color=red": "tcp has no argument 'color'; it has port, interface, backlog",
            "tcp6:1:2:3:4": "tcp6 has no argument '4'; it has port, backlog, interface",
            "tcp:8000:backlog=much": "backlog must be a number, not 'much'",
            "tcp:8000:backlog=": "backlog must be a number, not ''",
            "unix:": "it names no address",
            "unix:/run/x:mode=999": "mode must be a number of octal digits, not '999'",
            "tcp:1\\": "a backslash must have a character behind it",
        }.items():
            self.assertEqual(fault, endpoint_fault(endpoint), endpoint)
        for endpoint in (
            "tcp:0",
            "tcp6:port=65535:interface=\\:\\:1",
            "unix:/run/x:mode=660:lockfile=0",
            "tls:x:y",
            "",
        ):
            self.assertIsNone(endpoint_fault(endpoint), endpoint)
