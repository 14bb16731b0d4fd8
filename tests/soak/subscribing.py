"""Who subscribes to KV events over gRPC, and when it is quiet learns which blocks each rank has."""

from collections import Counter
from typing import Final

from smg_grpc_proto.generated import common_pb2 as pb

from tests.grpc.test_kvevents_at_random import Blocks
from tests.soak import calls
from tests.soak.exchanges import Call, Leave, Reply
from tests.soak.http2 import Http2
from vllmsim.api.frames import frame

PATH: Final = f"{calls.ENGINE}SubscribeKvEvents"


async def subscribe(port: int, seconds: float, *, rude: bool = False) -> Reply:
    """Subscribe for a while, and cancel.

    :param rude: whether to drop the connection instead.
    """
    request = pb.SubscribeKvEventsRequest(start_sequence_number=0)
    leave = Leave("waiting", seconds, rude)
    call = Call("subscriber", "events", PATH, frame(request.SerializeToString()), calls.HEADERS, True, leave=leave)
    http2 = Http2(port)
    reply = await http2.send(call, anew=True)
    http2.close()
    return reply


def pictures(reply: Reply) -> dict[int, list[int]]:
    """Find out which blocks each rank has, by what a subscriber has heard from the beginning."""
    known: dict[int, Blocks] = {}
    for batch in calls.messages(reply.body, pb.KvEventBatch):
        known.setdefault(batch.dp_rank, Blocks()).read_grpc(batch)
    return {rank: sorted(Counter(blocks.known).elements()) for rank, blocks in known.items()}
