"""What servers tell each other."""

from typing import Any

from attrs import evolve
from pydantic import TypeAdapter, ValidationError
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import answer
from vllmsim.api.transfer import PrefillSource, Transfer, TransferParams, encoder_outputs, transfer_of
from vllmsim.inference import NOT_CACHED, NOTHING_SAID, Prefill

ANSWER = evolve(answer(71), prefill=Prefill(33))
PLACEHOLDERS = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_engine_id": "DUMMY_ID",
    "remote_block_ids": ["DUMMY_ID"],
    "remote_host": "DUMMY",
    "remote_port": 1234,
    "tp_size": 1,
}
"""What llm-d-inference-sim answers a prefill request with."""


class HandoverTests(SynchronousTestCase):
    """Where things are to be fetched."""

    def test_handover(self) -> None:
        """A prefill server lists a prompt's blocks, in one group, and says which rank's they are and for how long."""
        source = PrefillSource({1: "engine"}, "10.0.0.1", 5600, tensor_parallel_size=2, patience=30)
        self.assertEqual(
            {
                "do_remote_prefill": True,
                "do_remote_decode": False,
                "remote_block_ids": [[7, 3, 9]],
                "remote_engine_id": "engine",
                "remote_request_id": "cmpl-r1-0",
                "remote_host": "10.0.0.1",
                "remote_port": 5601,
                "tp_size": 2,
                "dcp_size": 1,
                "pp_size": 1,
                "remote_num_tokens": 33,
                "remote_blocks_expiry_time": 1030,
                "remote_registration_generation": 0,
                "transfer_mode": "pull",
            },
            source.handover("cmpl-r1-0", evolve(answer(71), prefill=Prefill(33, blocks=(7, 3, 9), rank=1)), 1000),
        )

    def test_no_blocks(self) -> None:
        """Where no blocks are simulated, there are as many ids as the prompt would have blocks."""
        told = PrefillSource(block_size=16).handover("r1", ANSWER, 1000)
        assert told is not None
        self.assertEqual(([[1, 2, 3]], 1480), (told["remote_block_ids"], told["remote_blocks_expiry_time"]))

    def test_nothing_to_fetch(self) -> None:
        """A request that was refused or aborted leaves no blocks to be fetched."""
        for said in (NOT_CACHED, NOTHING_SAID):
            self.assertIsNone(PrefillSource().handover("r1", evolve(said, prefill=ANSWER.prefill), 1000))

    def test_encodings(self) -> None:
        """An encoder has a place for each hash."""
        self.assertEqual(["a", "b"], list(encoder_outputs(["a", "b"])))


class ParamsTests(SynchronousTestCase):
    """What requests say of their blocks."""

    def read(self, value: Any) -> Transfer:
        """Read ``kv_transfer_params`` of a request."""
        read: TransferParams = TypeAdapter(TransferParams).validate_python(value)
        self.assertEqual(set(value), set(read))
        return transfer_of(read)

    def test_nothing(self) -> None:
        """A request without them, or with nothing in them, is one of this server alone."""
        self.assertEqual(Transfer(), transfer_of(None))
        self.assertEqual(Transfer(), self.read({}))
        self.assertEqual(Transfer(), self.read(dict.fromkeys(("do_remote_prefill", "do_remote_decode"))))

    def test_copied(self) -> None:
        """What a prefill server says is understood as it is, and so are llm-d-inference-sim's placeholders."""
        told = PrefillSource().handover("r1", ANSWER, 1000)
        self.assertEqual(Transfer(prefilled=True, tokens=33), self.read(told))
        self.assertEqual(Transfer(prefilled=True), self.read(PLACEHOLDERS))

    def test_begun(self) -> None:
        """A router's first request asks for what the second needs."""
        nulls = dict.fromkeys(("remote_engine_id", "remote_block_ids", "remote_host", "remote_port"))
        asked = {"do_remote_decode": True, "do_remote_prefill": False, **nulls}
        self.assertEqual(Transfer(handed_over=True), self.read(asked))

    def test_not_read(self) -> None:
        """Members that mean nothing here may be anything, and are kept."""
        self.read({"remote_block_ids": 7, "remote_host": [], "transfer_id": {"deep": [1]}, "tp_size": "two"})

    def test_wrong(self) -> None:
        """Members that mean something must be of their type."""
        for name, value in (
            ("do_remote_prefill", "perhaps"),
            ("do_remote_decode", {}),
            ("remote_num_tokens", -1),
            ("remote_num_tokens", "many"),
            ("remote_num_tokens", 1.5),
        ):
            with self.assertRaises(ValidationError, msg=f"{name} {value}") as caught:
                self.read({name: value})
            self.assertEqual((name,), caught.exception.errors()[0]["loc"])
