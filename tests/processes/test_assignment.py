"""What a rank's process is told."""

from io import BytesIO

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.processes.assignment import Assignment

WORDS = """m --served-model-name a b --inter-token-latency 1m0.3s --lora-modules x=/p --time-to-first-token 3us
    --fake-metrics {"running-requests":3,"waiting-requests":"ramp:1:2:3s"} --kv-events-config {"hwm":1}
    --allowed-origins ["*"] --time-factor-under-load 1.1 --data-parallel-size 2"""


class AssignmentTests(SynchronousTestCase):
    """How it is handed over."""

    def test_same(self) -> None:
        """The rank has the configuration to the last digit, whatever its options are."""
        configuration = load_words(WORDS.split(), {"POD_NAME": "p"}).configuration
        assignment = Assignment(1, 7, configuration)
        stream = BytesIO(assignment.to_bytes() + b"more")
        self.assertEqual(assignment, Assignment.read(stream))
        self.assertEqual(b"more", stream.read())

    def test_cut_off(self) -> None:
        """A supervisor that dies while it tells is noticed."""
        whole = Assignment(0, 7, load_words([], {}).configuration).to_bytes()
        for cut in (0, len(whole) // 2):
            self.assertRaises(EOFError, Assignment.read, BytesIO(whole[:cut]))
