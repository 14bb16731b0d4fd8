"""How a rank is known to others."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.schema import Configuration
from vllmsim.identity import (
    endpoint_of,
    engine_entry,
    engine_id,
    fingerprint,
    side_channel,
    signature,
    supervisor_endpoint,
    url_of,
)


def configured(words: str = "") -> Configuration:
    """Read a command line."""
    return load_words(words.split(), {}).configuration


class IdentityTests(SynchronousTestCase):
    """What follows from the configuration."""

    def test_endpoints(self) -> None:
        """A rank listens on its port, a socket, or what the template says."""
        cases = {
            "": "tcp:8002:backlog=2048",
            "--host 127.0.0.1": "tcp:8002:interface=127.0.0.1:backlog=2048",
            "--host ::1": r"tcp6:8002:interface=\:\:1:backlog=2048",
            "--uds /run/v{rank}.sock": "unix:/run/v2.sock:backlog=2048",
            "--ssl-certfile c:1 --ssl-keyfile k": r"reloadingtls:8002:privateKey=k:certKey=c\:1:backlog=2048",
            "--ssl-certfile c --host ::1 --no-enable-ssl-refresh": (
                r"reloadingtls:8002:certKey=c:reload=no:interface=\:\:1:backlog=2048"
            ),
            "--ssl-certfile c --ssl-ca-certs a --ssl-cert-reqs 1 --ssl-ciphers A:B": (
                r"reloadingtls:8002:certKey=c:caCerts=a:verify=optional:ciphers=A\:B:backlog=2048"
            ),
            "--self-signed-certs": "selfsignedtls:8002:backlog=2048",
            "--self-signed-certs --host 0.0.0.0 --pod-ip 10.0.0.9 --self-signed-cert-file /c{rank}": (
                "selfsignedtls:8002:names=10.0.0.9:certificate=/c2:interface=0.0.0.0:backlog=2048"
            ),
            "--self-signed-certs --host h --ssl-ca-certs a --ssl-cert-reqs 2": (
                "selfsignedtls:8002:names=h:caCerts=a:verify=required:interface=h:backlog=2048"
            ),
            "--listen tcp:{port}:backlog={rank}": "tcp:8002:backlog=2",
        }
        for words, endpoint in cases.items():
            self.assertEqual(endpoint, endpoint_of(configured(words), 2))

    def test_ports(self) -> None:
        """Ports count up from the first, unless the rank is the server's only one."""
        self.assertEqual(8003, configured("-dp 4").port_of(3))
        self.assertEqual(8000, configured("--data-parallel-rank 3").port_of(3))

    def test_ports_of_the_machine(self) -> None:
        """They count from the first rank of the machine, whatever its number."""
        self.assertEqual(8001, configured("-dp 16 -dpl 8 -dpr 8").port_of(9))

    def test_one_port(self) -> None:
        """Ranks that the server balances among have one port; one rank has nothing to balance."""
        for words in ("-dp 16 -dpl 8 -dpr 8 -dph", "-dp 16 -dpl 8 -dpr 8 --data-parallel-internal-lb"):
            self.assertEqual((8000, [8000]), (configured(words).port_of(9), list(configured(words).ports)))
        self.assertEqual([True, False], [configured(f"-dph -dp {size}").balances for size in (2, 1)])

    def test_supervisor(self) -> None:
        """The supervisor listens at the ranks' host."""
        cases = {
            "": "tcp:9256",
            "--host ::1 --data-parallel-supervisor-port 1": r"tcp6:1:interface=\:\:1",
            "--uds /run/x --host 127.0.0.1": "tcp:9256:interface=127.0.0.1",
        }
        self.assertEqual(list(cases.values()), [supervisor_endpoint(configured(words)) for words in cases])

    def test_engine_ids(self) -> None:
        """An engine's id depends on the seed, the pod, the first port and the rank."""
        c = configured("--pod-name p")
        ids = {
            engine_id(configuration, seed, number)
            for configuration in (c, configured("--pod-name q"), configured("--pod-name p --port 9000"))
            for seed in (1, 2)
            for number in (0, 1)
        }
        self.assertEqual((12, engine_id(c, 1, 0)), (len(ids), engine_id(configured("--pod-name p"), 1, 0)))

    def test_given_engine_id(self) -> None:
        """An operator's own id is used as it is, with the rank's number behind it where there are several."""
        words = '--kv-transfer-config {"engine_id":"prefill-0"}'
        self.assertEqual("prefill-0", engine_id(configured(words), 1, 0))
        self.assertEqual("prefill-0_dp1", engine_id(configured(f"{words} -dp 2"), 1, 1))

    def test_side_channel(self) -> None:
        """KV blocks are to be had where the operator says, or else at the pod's address; each rank has a port."""
        self.assertEqual(("localhost", 5602), side_channel(configured(), 2))
        self.assertEqual(("10.0.0.1", 5600), side_channel(configured("--pod-ip 10.0.0.1"), 0))
        words = "--pod-ip 10.0.0.1 --nixl-side-channel-host p --nixl-side-channel-port 7000"
        self.assertEqual(("p", 7001), side_channel(configured(words), 1))
        environ = {"VLLM_NIXL_SIDE_CHANNEL_HOST": "h", "VLLM_NIXL_SIDE_CHANNEL_PORT": "7100"}
        self.assertEqual(("h", 7100), side_channel(load_words((), environ).configuration, 0))

    def test_engine_entry(self) -> None:
        """Mooncake's peers are told the same id and address as those who fetch blocks, for each worker."""
        c = configured("-tp 2 -pp 3 --pod-ip 10.0.0.1")
        entry = engine_entry(c, 1, 0)
        self.assertEqual(engine_id(c, 1, 0), entry["engine_id"])
        stages = dict.fromkeys("012", "tcp://10.0.0.1:5600")
        self.assertEqual({"0": stages, "1": stages}, entry["worker_addr"])

    def test_signature(self) -> None:
        """A server without a name signs nothing."""
        self.assertEqual({}, signature(configured(), 0))
        self.assertEqual({"x-inference-namespace": "n"}, signature(configured("--pod-namespace n"), 0))
        expected = {"x-inference-pod": "p", "x-inference-port": "8001"}
        self.assertEqual(expected, signature(configured("--pod-name p"), 1))

    def test_fingerprint(self) -> None:
        """The fingerprint shows the release, how the model is split, and a hash; or what the operator wants."""
        self.assertRegex(str(fingerprint(configured("-tp 2 -dp 4"))), "^vllm-0.33.0-tp2-dp4-[0-9a-f]{8}$")
        self.assertRegex(str(fingerprint(configured("--fingerprint-mode hash"))), "^[0-9a-f]{8}$")
        self.assertIsNone(fingerprint(configured("--fingerprint-mode none")))
        self.assertEqual("x", fingerprint(configured("--fingerprint-mode custom --fingerprint-value x")))
        self.assertNotEqual(fingerprint(configured("m1")), fingerprint(configured("m2")))

    def test_urls(self) -> None:
        """The log names an address where there is one, and else the endpoint."""
        cases = {
            "": "http://0.0.0.0:8002",
            "--host ::1": "http://[::1]:8002",
            "--ssl-certfile c --ssl-keyfile k --host h": "https://h:8002",
            "--self-signed-certs": "https://0.0.0.0:8002",
            "--uds /run/x": "unix:/run/x",
        }
        self.assertEqual(list(cases.values()), [url_of(configured(words), 2) for words in cases])
