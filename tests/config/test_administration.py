"""Where administrators are served."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.administration import admin_ports
from vllmsim.config.loading import ConfigurationError
from vllmsim.identity import admin_endpoint_of


class EndpointTests(SynchronousTestCase):
    """``admin-endpoint`` and the ranks' own."""

    def endpoints(self, *words: str) -> list[str | None]:
        """Find the endpoints of all ranks."""
        configuration = load_words(words, {}).configuration
        return [admin_endpoint_of(configuration, number) for number in configuration.ranks]

    def refused(self, endpoint: str, *words: str) -> str:
        """See why an endpoint does not do."""
        error = self.assertRaises(ConfigurationError, load_words, ["--admin-endpoint", endpoint, *words], {})
        [problem] = error.problems
        self.assertEqual("admin-endpoint", problem.option)
        fault: str = problem.fault
        return fault

    def test_none(self) -> None:
        """Without one they are served where everybody is."""
        self.assertEqual([None, None], self.endpoints("-dp", "2"))

    def test_port(self) -> None:
        """A port is one like the rank's own, and each further rank has the next."""
        self.assertEqual(
            ["tcp:9001:interface=127.0.0.1:backlog=2048", "tcp:9002:interface=127.0.0.1:backlog=2048"],
            self.endpoints("-dp", "4", "-dpr", "2", "--admin-endpoint", "9001", "--host", "127.0.0.1"),
        )
        [endpoint] = self.endpoints("--admin-endpoint", "9001", "--ssl-certfile", "/c", "--ssl-keyfile", "/k")
        self.assertEqual("reloadingtls:9001:privateKey=/k:certKey=/c:backlog=2048", endpoint)

    def test_endpoint(self) -> None:
        """An endpoint is taken as it is, with the rank's number for {rank}; one that begins with a port counts up."""
        for given, expected in (
            ("tcp:9001:interface=127.0.0.1", "tcp:9002:interface=127.0.0.1"),
            ("tcp6:port=9001", "tcp6:port=9002"),
            ("tcp:0", "tcp:0"),
            ("unix:/run/x{rank}.sock:mode=600", "unix:/run/x1.sock:mode=600"),
            ("tcp:90{rank}", "tcp:901"),
        ):
            self.assertEqual(expected, self.endpoints("-dp", "2", "--admin-endpoint", given)[1])
        self.assertEqual(["unix:/run/x.sock"], self.endpoints("--admin-endpoint", "unix:/run/x.sock"))

    def test_ports(self) -> None:
        """Ports are known where they are counted."""
        for endpoint, words, expected in (
            ("9001", (), range(9001, 9002)),
            ("tcp:9001:interface=::1", ("-dp", "2"), range(9001, 9003)),
            ("unix:/9001", (), range(0)),
        ):
            configuration = load_words(["--admin-endpoint", endpoint, *words], {}).configuration
            self.assertEqual(expected, admin_ports(configuration))

    def test_wrong(self) -> None:
        """What cannot be is refused with the start, and says why."""
        for fault, words in (
            ("'0' is neither a port nor a Twisted endpoint such as unix:/run/vllmsim.sock", ["0"]),
            ("'70000' leaves no port for rank 0", ["70000"]),
            ("'nowhere' is neither a port nor a Twisted endpoint such as unix:/run/vllmsim.sock", ["nowhere"]),
            ("2 ranks cannot share 'unix:/run/x.sock'; put {rank} in it", ["unix:/run/x.sock", "-dp", "2"]),
            ("it names no address", ["unix:"]),
            ("port must be a number of at most 65535, not '-1'", ["tcp:-1"]),
            ("'65535' leaves no port for rank 1", ["65535", "-dp", "2"]),
            ("'tcp:65535' leaves no port for rank 1", ["tcp:65535", "-dp", "2"]),
            ("port 8001 is taken already: it is this server's own", ["8001", "-dp", "2"]),
            ("port 8001 is taken already: it is this server's own", ["tcp:8000", "--port", "8001", "-dp", "2"]),
            ("port 9256 is taken already: it is this server's own", ["9256", "--data-parallel-processes"]),
        ):
            self.assertEqual(fault, self.refused(*words))
        self.endpoints("--admin-endpoint", "8000", "--uds", "/x")
