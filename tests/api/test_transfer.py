"""What servers tell each other."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.transfer import PrefillSource, encoder_outputs
from vllmsim.inference import Prefill


class TransferTests(SynchronousTestCase):
    """Where things are to be fetched."""

    def test_handover(self) -> None:
        """A prefill server lists the blocks of the prompt, in one group, and says whose they are."""
        told = PrefillSource("engine", block_size=16).handover("r1", Prefill(33), 1000)
        self.assertEqual([[1, 2, 3]], told["remote_block_ids"])
        self.assertEqual(("engine", "r1"), (told["remote_engine_id"], told["remote_request_id"]))
        self.assertEqual((33, 1480), (told["remote_num_tokens"], told["remote_blocks_expiry_time"]))
        self.assertEqual((True, False), (told["do_remote_prefill"], told["do_remote_decode"]))

    def test_encodings(self) -> None:
        """An encoder has a place for each hash."""
        self.assertEqual(["a", "b"], list(encoder_outputs(["a", "b"])))
