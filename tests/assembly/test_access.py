"""What stands between clients and routes, as the configuration asks for it."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.assembly.access import make_chain
from vllmsim.config.schema import Configuration
from vllmsim.web.middleware.cors import Cors
from vllmsim.web.middleware.requestids import RequestIds


class ChainTests(SynchronousTestCase):
    """Who is there."""

    def kinds(self, configuration: Configuration) -> list[type]:
        """List what the chain is made of."""
        return [type(member) for member in make_chain(configuration).members]

    def test_default(self) -> None:
        """What would have nothing to do is not there."""
        self.assertEqual([Cors], self.kinds(Configuration()))

    def test_order(self) -> None:
        """The order is vLLM's."""
        self.assertEqual([RequestIds, Cors], self.kinds(Configuration(enable_request_id_headers=True)))
