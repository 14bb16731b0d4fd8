"""What ``GetServerInfo`` answers."""

from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.engine.serverinfo import ServerSetup, ServerState, server_info


class ServerInfoTests(SynchronousTestCase):
    """Every field."""

    def test_plain(self) -> None:
        """A server of which nothing is known says what it is, and that grammars begin at once."""
        expected = pb.GetServerInfoResponse(
            server_type="vllm-grpc",
            data_parallel_size=1,
            kv_cache_dtype="auto",
            model_dtype="torch.bfloat16",
            multimodal_encoder_dtype="bfloat16",
            constrained_decoding_start="first_token",
        )
        self.assertEqual(expected, server_info(ServerSetup(), ServerState()))

    def test_all(self) -> None:
        """All that is known is told."""
        setup = ServerSetup(
            connector="NixlConnector",
            role="kv_both",
            engine_id="e",
            ranks=4,
            cache_dtype="fp8",
            block_size=16,
            attention_backend="FLASHINFER",
            model_dtype="float16",
            pairing="p1",
            sees=True,
            reasoning_parser="qwen3",
        )
        state = ServerState(in_flight=2, paused=True, last_output=1.5, uptime=2.5, most_running=1 << 40)
        expected = pb.GetServerInfoResponse(
            active_requests=2,
            is_paused=True,
            last_receive_timestamp=1.5,
            uptime_seconds=2.5,
            server_type="vllm-grpc",
            kv_connector="NixlConnector",
            kv_role="kv_both",
            kv_engine_id="e",
            data_parallel_size=4,
            kv_cache_dtype="fp8",
            block_size=16,
            attention_backend="FLASHINFER",
            model_dtype="torch.float16",
            pairing_protocol="p1",
            mm_processor="inprocess",
            mm_media_ref_schemes="data,http,https",
            mm_processor_source="default",
            max_num_seqs=2**31 - 1,
            multimodal_encoder_dtype="float16",
            engine_reasoning_parser="qwen3",
            constrained_decoding_start="after_reasoning",
        )
        self.assertEqual(expected, server_info(setup, state))

    def test_other_numbers(self) -> None:
        """A number type that no encoder of media has is told of the model alone."""
        info = server_info(ServerSetup(model_dtype="fp8"), ServerState())
        self.assertEqual(("torch.fp8", ""), (info.model_dtype, info.multimodal_encoder_dtype))
