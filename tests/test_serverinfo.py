"""What the server tells about itself."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.serverinfo import describe_environment, describe_system, installed


class ServerInfoTests(SynchronousTestCase):
    """Everything but secrets."""

    def test_environment(self) -> None:
        """VLLM's variables are shown, in order; of those that may be secret just that they are there."""
        environ = {
            "VLLM_PORT": "1",
            "VLLM_API_KEY": "a",
            "VLLM_S3_ACCESS_KEY_ID": "b",
            "HF_TOKEN": "c",
            "VLLM_X": "http://a:b@c",
        }
        expected = {"VLLM_API_KEY": "***", "VLLM_PORT": "1", "VLLM_S3_ACCESS_KEY_ID": "***", "VLLM_X": "http://***@c"}
        self.assertEqual(expected, describe_environment(environ))

    def test_system(self) -> None:
        """The machine, Python and the packages are named."""
        system = describe_system()
        self.assertEqual("0.33.0", system["packages"]["vllm"])
        self.assertRegex(system["packages"]["Twisted"], r"^\d+\.\d+")
        self.assertTrue(system["os"])
        self.assertEqual(("no-such-package", "unknown"), installed("no-such-package"))
