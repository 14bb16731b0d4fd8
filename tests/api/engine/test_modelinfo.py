"""What ``GetModelInfo`` answers."""

from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.engine.modelinfo import ModelFacts, model_info

FACTS = ModelFacts(
    path="/models/q",
    served_name="q",
    tokenizer_path="/models/t",
    generates=True,
    max_model_len=4096,
    vocabulary_size=151936,
    sees=True,
    kind="qwen3",
    architectures=("Qwen3ForCausalLM",),
    ends=(5, 6),
    pad=7,
    bos=8,
    sampling={"top_k": 20, "temperature": 0.6, "max_new_tokens": 9, "min_p": None},
)


class ModelInfoTests(SynchronousTestCase):
    """Every field."""

    def test_told(self) -> None:
        """All that is known is told; of sampling defaults those that gateways ask for."""
        expected = pb.GetModelInfoResponse(
            model_path="/models/q",
            is_generation=True,
            max_context_length=4096,
            vocab_size=151936,
            supports_vision=True,
            served_model_name="q",
            tokenizer_path="/models/t",
            model_type="qwen3",
            architectures=["Qwen3ForCausalLM"],
            eos_token_ids=[5, 6],
            pad_token_id=7,
            bos_token_id=8,
            max_req_input_len=4096,
            default_sampling_params_json='{"temperature":0.6,"top_k":20}',
        )
        self.assertEqual(expected, model_info(FACTS))

    def test_too_large(self) -> None:
        """What no integer there can hold is left out, or told as the largest."""
        info = model_info(
            ModelFacts(
                path="m",
                served_name="m",
                tokenizer_path="m",
                generates=False,
                max_model_len=1 << 40,
                vocabulary_size=1 << 32,
                sees=False,
                ends=(1 << 31, 3, -1),
                pad=1 << 31,
                bos=-1,
            )
        )
        self.assertEqual(([3], 0, 0), (list(info.eos_token_ids), info.pad_token_id, info.bos_token_id))
        self.assertEqual((2**31 - 1, 2**32 - 1), (info.max_context_length, info.vocab_size))
        self.assertEqual(("", False), (info.default_sampling_params_json, info.is_generation))
