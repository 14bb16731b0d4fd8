"""The messages of vllm.Inference."""

from typing import Any

from google.protobuf.descriptor import Descriptor
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.inferenceservice.messages import INFERENCE, FinishInfo

NUMBERS = {
    "GenerateRequest": "request_id 1 model 2 text 3 token_ids 4 temperature 5 sampling 6 decoding 7 stopping "
    "8 response 9 kv 10 truncate_prompt_tokens 11 priority 12 session_id 13 media 14 "
    "lora_name 15",
    "TokenIds": "ids 1",
    "SamplingOptions": "num_sequences 1 top_k 2 top_p 3 min_p 4 seed 5",
    "DecodingOptions": "presence_penalty 1 frequency_penalty 2 repetition_penalty 3 logit_bias 4 "
    "allowed_token_ids 5 json 6 regex 7 choice 8 grammar 9 json_object 10 structural_tag "
    "11",
    "StoppingOptions": "max_new_tokens 1 min_new_tokens 2 stop_token_ids 3 stop_strings 4 "
    "include_stop_strings 5 ignore_eos 6",
    "ResponseOptions": "prompt_token_ids 1 prompt_logprobs 2 prompt_candidates 3 output_text 4 "
    "output_token_ids 5 output_logprobs 6 output_candidates 7 skip_special_tokens 8",
    "KvOptions": "bypass_prefix_cache 1 cache_salt 2 kv_transfer_params 3 ec_transfer_params 4",
    "GenerateResponse": "prompt_info 1 outputs 2",
    "PromptInfo": "num_prompt_tokens 1 token_ids 2 logprobs 3 ranks 4 candidate_tokens 5",
    "Output": "index 1 text 2 num_tokens 3 token_ids 4 logprobs 5 ranks 6 candidate_tokens 7 finish_info 8",
    "FinishInfo": "num_output_tokens 1 finish_reason 2 stop_token_id 3 eos_token_id 4 stop_string 5 "
    "kv_transfer_params 6 ec_transfer_params 8",
}
"""The numbers of vLLM's fields."""


def numbers(message: Descriptor) -> str:
    """List the fields of a message."""
    return " ".join(f"{each.name} {each.number}" for each in message.fields)


class MessageTests(SynchronousTestCase):
    """What is declared has vLLM's numbers."""

    def test_numbers(self) -> None:
        """Every field has the number that vLLM's front-end gives it."""
        messages: Any = INFERENCE.file.message_types_by_name
        self.assertEqual(NUMBERS, {name: numbers(messages[name]) for name in NUMBERS})

    def test_reasons(self) -> None:
        """A finish that has not come is 0, and so is told by nothing."""
        reasons = [FinishInfo.NOT_FINISHED, FinishInfo.LENGTH, FinishInfo.STOP, FinishInfo.ABORTED]
        self.assertEqual([0, 1, 2, 3], reasons)

    def test_methods(self) -> None:
        """The service is vllm.Inference, of whose methods one answers in pieces."""
        service = INFERENCE.service("Inference")
        self.assertEqual("vllm.Inference", service.full_name)
        self.assertEqual(
            {"Generate": False, "GenerateStream": True},
            {each.name: each.server_streaming for each in service.methods},
        )
