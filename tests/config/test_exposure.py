"""What is said of servers that others may turn."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.exposure import exposure, is_reached_from_elsewhere

KEY = ("--api-key", "a")
HERE = ("--host", "127.0.0.1")
PAIR = ("--ssl-certfile", "/c", "--ssl-ca-certs", "/a")
REACHED = "Whoever reaches this server from the network may use "


class ExposureTests(SynchronousTestCase):
    """One sentence, with the options that close what is open."""

    def said(self, *words: str) -> str:
        """See what is said of a server that is started so."""
        return exposure(load_words(words, {}).configuration)

    def test_everything(self) -> None:
        """By default, as in vLLM, the network is let in: what it may do is said, with the options that close each."""
        self.assertEqual(
            f"{REACHED}/admin/config and the like (admin-api-key or admin-endpoint closes them), and /pause, /sleep,"
            " /abort_requests and the like (server-dev-mode: false closes them); host: 127.0.0.1 serves this machine"
            " alone.",
            self.said(),
        )

    def test_parts(self) -> None:
        """Of what is closed nothing is said; keys of clients close none of it."""
        for words, administration, development in (
            (KEY, True, True),
            (("--admin-api-key", "b"), False, True),
            (("--admin-endpoint", "unix:/run/a"), False, True),
            (("--admin-endpoint", "9001"), True, True),
            (("--admin-endpoint", "9001", "--admin-api-key", "b"), False, True),
            (("--no-server-dev-mode",), True, False),
            (("--no-server-dev-mode", "--admin-api-key", "b"), False, False),
        ):
            said = self.said(*words)
            self.assertEqual(
                (administration or development, administration, development),
                (said.startswith(REACHED), "/admin" in said, "/pause" in said),
                words,
            )

    def test_administrators_apart(self) -> None:
        """An endpoint that administrators have for themselves is open to the network if others reach it."""
        for words, reached in (
            (("--admin-endpoint", "9001"), True),
            (("--admin-endpoint", "tcp:9001"), True),
            (("--admin-endpoint", "tcp:9001", *HERE), True),
            (("--admin-endpoint", "tcp:9001", "--uds", "/run/x"), True),
            (("--admin-endpoint", "9001", *HERE), False),
            (("--admin-endpoint", "tcp:9001:interface=127.0.0.1"), False),
            (("--admin-endpoint", "unix:/run/a:mode=600"), False),
            (("--admin-endpoint", "tcp:9001", "--admin-api-key", "b"), False),
            (("--admin-endpoint", "9001", *PAIR, "--ssl-cert-reqs", "2"), False),
        ):
            said = self.said("--no-server-dev-mode", *words)
            self.assertEqual(reached, "at admin-endpoint (admin-api-key closes them)" in said, words)

    def test_here(self) -> None:
        """Who listens for this machine alone is told nothing, unless clients have keys and administrators none."""
        self.assertEqual("", self.said(*HERE))
        self.assertIn("anyone may change them. See admin-api-key.", self.said(*HERE, *KEY))
        self.assertIn("admin-api-key", self.said(*HERE, "--tenants", '[{"name":"t","keys":["k"]}]'))
        self.assertEqual("", self.said(*HERE, *KEY, "--admin-api-key", "b"))
        self.assertEqual("", self.said(*HERE, *KEY, "--admin-endpoint", "9001"))

    def test_reach(self) -> None:
        """Loopback and unix sockets are reached from here alone; who needs a certificate is no stranger."""
        for words, reached in (
            ((), True),
            (("--host", "0.0.0.0"), True),
            (("--host", "127.0.0.1.example.org"), True),
            (("--host", "10.0.0.1"), True),
            (("--host", "localhost"), False),
            (("--host", "ip6-localhost"), False),
            (("--host", "127.8.8.8"), False),
            (("--host", "::1"), False),
            (("--uds", "/run/x"), False),
            (("--uds", "/run/x", "--grpc-port", "9000"), True),
            (("--uds", "/run/x", "--grpc-port", "9000", *HERE), False),
            (("--listen", "unix:/run/x"), False),
            (("--listen", "tcp:8000"), True),
            (("--listen", "tcp:8000:127.0.0.1"), False),
            (("--listen", "tcp6:8000:interface=\\:\\:1"), False),
            (("--listen", "systemd:domain=INET6:name=http"), True),
            (("--listen", "systemd:domain=UNIX:name=http"), False),
            (("--listen", "selfsignedtls:8000"), True),
            (("--listen", "selfsignedtls:8000:caCerts=/a:verify=required"), False),
            (("--listen", "selfsignedtls:8000:caCerts=/a:verify=optional"), True),
            ((*PAIR, "--ssl-cert-reqs", "1"), True),
            ((*PAIR, "--ssl-cert-reqs", "2"), False),
        ):
            self.assertEqual(reached, is_reached_from_elsewhere(load_words(words, {}).configuration), words)
