"""The messages of vllm.Control."""

from typing import Any

from google.protobuf.descriptor import Descriptor
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.controlservice.messages import CONTROL, answer_to

SERVER = "engine_version 1 api_version 2 instance_id 3 parallelism 4 max_model_len 5 kv_block_size 6 total_kv_blocks 7 "
SERVER += "max_running_requests 8 max_batched_tokens 9 max_loras 10 effective_attention_block_size 14"
MODEL = "model_id 1 served_model_name 2 served_model_aliases 3 supports_text_input 20 supports_token_ids_input 21 "
MODEL += "supports_lora 22 supports_multimodal 23 reasoning_parser 24 tool_call_parser 25"
SOURCE = "transport 1 endpoint 2 topic 3 replay_endpoint 4 data_parallel_rank 5 encoding 6 schema_version 7 "
SOURCE += "buffer_steps 8 hwm 9 max_queue_size 10"


def numbers(message: Descriptor) -> str:
    """List the fields of a message."""
    return " ".join(f"{each.name} {each.number}" for each in message.fields)


class MessageTests(SynchronousTestCase):
    """What is declared has vLLM's numbers."""

    def test_numbers(self) -> None:
        """Every field that vLLM's front-end has a number for has that number."""
        messages: Any = CONTROL.file.message_types_by_name
        expected = {"GetServerInfoResponse": SERVER, "GetModelInfoResponse": MODEL, "KvEventSource": SOURCE}
        self.assertEqual(expected, {name: numbers(messages[name]) for name in expected})

    def test_methods(self) -> None:
        """Every method takes a message of its own, and gives one of its own; none is a stream."""
        service = CONTROL.service("Control")
        self.assertEqual("vllm.Control", service.full_name)
        self.assertEqual(14, len(service.methods))
        for each in service.methods:
            self.assertEqual(f"vllm.{each.name}Request", each.input_type.full_name)
            self.assertEqual(f"vllm.{each.name}Response", each.output_type.full_name)
            self.assertEqual((False, False), (each.client_streaming, each.server_streaming))

    def test_answer(self) -> None:
        """An answer is made by its method's name."""
        self.assertEqual(b"\x08\x01", answer_to("IsPaused", is_paused=True).SerializeToString())
        self.assertRaises(KeyError, answer_to, "UpdateWeights")
