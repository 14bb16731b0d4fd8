# -*- test-case-name: tests.api.test_transfer -*-
"""What servers tell each other through their clients: where KV blocks and encoder outputs are to be fetched.

One server runs the prefill of a request and another goes on from there (vLLM's NIXL connector). The router sends the
request to the first with ``kv_transfer_params: {"do_remote_decode": true}`` and ``max_tokens: 1``. The answer has an
object of the same name, which says ``do_remote_prefill`` and where the prompt's blocks are; the router copies it into
the same request to the second server, which fetches them. Routers may add members of their own, and those of
llm-d-inference-sim are placeholders: what is not read here may be anything.

An encoder answers with ``ec_transfer_params``: a map from the hash of each image, sound or film to where its encoding
is; the values are llm-d-inference-sim's.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from attrs import field, frozen
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from vllmsim.inference import Answer

NIXL_PORT: Final = 5600
"""Where vLLM's NIXL connector is asked for blocks unless it is told otherwise."""
PATIENCE: Final = 480.0
"""Seconds that it keeps blocks for the decode server."""
_ENCODED: Final = {
    "peer_host": "DUMMY",
    "peer_port": 1234,
    "size_bytes": 2359296,
    "nixl_agent_metadata_b64": "TklYTF9NRVRBREFUQV9QTEFDRUhPTERFUg==",
}


class TransferParams(TypedDict, total=False):
    """The members of ``kv_transfer_params`` that mean something here; all others are left as they are."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    do_remote_prefill: bool | None
    do_remote_decode: bool | None
    remote_num_tokens: Annotated[int, Field(ge=0)] | None


@frozen
class Transfer:
    """What is to become of the KV blocks of a request's prompts.

    :param prefilled: whether another server has computed them, and they are to be fetched.
    :param tokens: how many tokens it has computed; None for all.
    :param handed_over: whether another server is to go on after the prefill.
    """

    prefilled: bool = False
    tokens: int | None = None
    handed_over: bool = False


NO_TRANSFER: Final = Transfer()
"""Nothing."""


def transfer_of(params: TransferParams | None) -> Transfer:
    """Read what a request says of its blocks."""
    if not params:
        return NO_TRANSFER
    given: Mapping[str, Any] = params
    return Transfer(
        bool(given.get("do_remote_prefill")), given.get("remote_num_tokens"), bool(given.get("do_remote_decode"))
    )


@frozen
class PrefillSource:
    """A prefill server as its peers see it.

    :param engine_ids: the names of its data-parallel ranks among them, by number.
    :param host: where blocks are to be asked for.
    :param port: likewise, of rank 0; every further rank has the next one.
    :param block_size: tokens per block.
    :param tensor_parallel_size: how many workers have a share of each block.
    :param patience: seconds that blocks are kept for the decode server.
    """

    engine_ids: Mapping[int, str] = field(factory=lambda: {0: "0"})
    host: str = "localhost"
    port: int = NIXL_PORT
    block_size: int = 16
    tensor_parallel_size: int = 1
    patience: float = PATIENCE

    def handover(self, request_id: str, answer: Answer, now: int) -> dict[str, Any] | None:
        """Tell where the blocks of a prompt are.

        :param request_id: what the engine calls the sequence.
        :param answer: the sequence's, which knows how the prompt was computed.
        :param now: seconds since the epoch.
        :return: None if there is nothing to be fetched, as the sequence was refused or aborted.
        """
        if answer.finish_reason in ("abort", "cache_threshold"):
            return None
        prefill = answer.prefill
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [list(prefill.blocks or range(1, -(-prefill.tokens // self.block_size) + 1))],
            "remote_engine_id": self.engine_ids[prefill.rank],
            "remote_request_id": request_id,
            "remote_host": self.host,
            "remote_port": self.port + prefill.rank,
            "tp_size": self.tensor_parallel_size,
            "dcp_size": 1,
            "pp_size": 1,
            "remote_num_tokens": prefill.tokens,
            "remote_blocks_expiry_time": now + self.patience,
            "remote_registration_generation": 0,
            "transfer_mode": "pull",
        }


def encoder_outputs(hashes: Iterable[str]) -> dict[str, Any]:
    """Tell where the encodings of some media are."""
    return dict.fromkeys(hashes, _ENCODED)
