"""How the supervisor is let in."""

from pathlib import Path
from tempfile import mkdtemp

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import Authority
from vllmsim.listening import StartError
from vllmsim.processes.introducing import introduction
from vllmsim.tls.identities import Identity


class IntroducingTests(SynchronousTestCase):
    """Certificates of a supervisor."""

    def setUp(self) -> None:
        """Have a certificate in files."""
        folder = Path(mkdtemp())
        authority = Authority()
        certificate, key = authority.issue().write(folder)
        authorities = folder / "authorities.pem"
        authorities.write_bytes(authority.pem)
        self.endpoint = f"reloadingtls:1:certKey={certificate}:privateKey={key}:caCerts={authorities}"

    def introduction(self, *endpoints: str) -> Identity | None:
        """Find what a supervisor of ranks at these endpoints needs."""
        return introduction(endpoints, "", MemoryReactorClock())

    def test_needed(self) -> None:
        """It has a certificate where ranks let nobody in without one, and there alone."""
        self.assertIsNone(self.introduction("tcp:1", "ssl:1:k:c"))
        self.assertIsNone(self.introduction("selfsignedtls:1", f"{self.endpoint}:verify=optional"))
        self.assertIsNotNone(self.introduction(self.endpoint, self.endpoint.replace(":1:", ":2:")))

    def test_unusable(self) -> None:
        """A certificate that no rank can use is told once, before any is started."""
        error = self.assertRaises(StartError, self.introduction, "reloadingtls:1:certKey=/no/c", "reloadingtls:2:/no/c")
        self.assertIn("cannot read the certificate '/no/c': No such file or directory", str(error))
