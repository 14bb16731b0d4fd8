# -*- test-case-name: tests.api.test_transfer -*-
"""What servers tell each other through their clients: where KV blocks and encoder outputs are to be fetched.

A prefill server answers a request that has ``kv_transfer_params.do_remote_decode`` with an object of the same name,
which the router copies into its request to the decode server (vLLM's NIXL connector). An encoder answers with
``ec_transfer_params``: a map from the hash of each image, sound or film to where its encoding is; the values are
llm-d-inference-sim's.
"""

from collections.abc import Iterable
from typing import Any, Final

from attrs import frozen

from vllmsim.inference import Prefill

_NIXL_PORT: Final = 5600
_EXPIRY: Final = 480
"""Seconds that blocks are kept for the decode server; vLLM's own default."""
_ENCODED: Final = {
    "peer_host": "DUMMY",
    "peer_port": 1234,
    "size_bytes": 2359296,
    "nixl_agent_metadata_b64": "TklYTF9NRVRBREFUQV9QTEFDRUhPTERFUg==",
}


@frozen
class PrefillSource:
    """A prefill server as its peers see it.

    :param engine_id: its name among them.
    :param port: where blocks are to be asked for.
    :param block_size: tokens per block.
    """

    engine_id: str = "0"
    host: str = "localhost"
    port: int = _NIXL_PORT
    block_size: int = 16
    tensor_parallel_size: int = 1

    def handover(self, request_id: str, prefill: Prefill, now: int) -> dict[str, Any]:
        """Tell where the blocks of a prompt are.

        :param now: seconds since the epoch.
        """
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [list(prefill.blocks or range(1, -(-prefill.tokens // self.block_size) + 1))],
            "remote_engine_id": self.engine_id,
            "remote_request_id": request_id,
            "remote_host": self.host,
            "remote_port": self.port,
            "tp_size": self.tensor_parallel_size,
            "dcp_size": 1,
            "pp_size": 1,
            "remote_num_tokens": prefill.tokens,
            "remote_blocks_expiry_time": now + _EXPIRY,
            "remote_registration_generation": 0,
            "transfer_mode": "pull",
        }


def encoder_outputs(hashes: Iterable[str]) -> dict[str, Any]:
    """Tell where the encodings of some media are."""
    return dict.fromkeys(hashes, _ENCODED)
