"""The calls that tell of a server."""

import hashlib
from collections.abc import Awaitable, Callable

from smg_grpc_proto.generated import common_pb2 as common
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.internet.defer import Deferred, succeed

from tests.api.engine.test_loads import GivenLoads
from tests.api.engine.test_modelinfo import FACTS
from tests.grpc.calling import Called, CallTestCase
from tests.grpc.test_operations import PATH
from tests.harness import EPOCH
from vllmsim.api.engine.serverinfo import ServerSetup, ServerState
from vllmsim.grpc.inquiries import InquiryCalls
from vllmsim.grpc.status import Code

Archive = Callable[[], Awaitable[tuple[bytes, str]]]


class InquiryTests(CallTestCase):
    """Each is asked for."""

    def setUp(self) -> None:
        """Serve, with an archive of some size."""
        data = bytes(range(256)) * 600
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.data = data
        self.begin(lambda: succeed((data, self.sha256)))

    def begin(self, archive: Archive | None) -> None:
        """Serve."""
        self.serve()
        self.state = ServerState(uptime=1.0)
        self.root.add(
            InquiryCalls(
                lambda: EPOCH,
                GivenLoads,
                lambda: succeed(FACTS),
                lambda: succeed(ServerSetup(ranks=2)),
                lambda: self.state,
                archive,
            )
        )

    def fetch(self) -> Called:
        """Ask for the tokenizer."""
        return self.call(PATH + "GetTokenizer", common.GetTokenizerChunk, common.GetTokenizerRequest())

    def test_model(self) -> None:
        """What is known of the model is told."""
        called = self.call(PATH + "GetModelInfo", pb.GetModelInfoResponse, pb.GetModelInfoRequest())
        self.assertEqual((Code.OK, ["q"]), (called.code, [each.served_model_name for each in called.messages]))

    def test_server(self) -> None:
        """How the server is set up is told, and how it is now."""
        for uptime in (1.0, 2.0):
            self.state = ServerState(uptime=uptime)
            called = self.call(PATH + "GetServerInfo", pb.GetServerInfoResponse, pb.GetServerInfoRequest())
            [info] = called.messages
            self.assertEqual((2, uptime), (info.data_parallel_size, info.uptime_seconds))

    def test_loads(self) -> None:
        """The loads of all ranks are told, or of one; a rank that there is not is the client's mistake."""
        path, answer = PATH + "GetLoads", pb.GetLoadsResponse
        [told] = self.call(path, answer, pb.GetLoadsRequest()).messages
        self.assertEqual((3, "2026-11-22T09:30:33+00:00"), (told.dp_rank_count, told.timestamp))
        called = self.call(path, answer, pb.GetLoadsRequest(dp_rank=9))
        self.assertEqual((Code.INVALID_ARGUMENT, "dp_rank 9 is out of range [0, 3)."), (called.code, called.text))

    def test_tokenizer(self) -> None:
        """The archive comes in pieces of 64 KiB, and its hash with the last."""
        called = self.fetch()
        pieces = called.messages
        self.assertEqual((Code.OK, self.data), (called.code, b"".join(piece.data for piece in pieces)))
        self.assertEqual([65536, 65536, 22528], [len(piece.data) for piece in pieces])
        self.assertEqual(["", "", self.sha256], [piece.sha256 for piece in pieces])

    def test_no_tokenizer(self) -> None:
        """A tokenizer without files cannot be fetched."""
        self.begin(None)
        called = self.fetch()
        self.assertEqual(Code.FAILED_PRECONDITION, called.code)
        self.assertEqual("Tokenizer path is not configured on this server.", called.text)

    def test_broken_tokenizer(self) -> None:
        """Where its files cannot be read the client learns why."""

        async def broken() -> tuple[bytes, str]:
            raise ValueError("No tokenizer files found in /models/x")

        self.begin(broken)
        called = self.fetch()
        self.assertEqual((Code.INTERNAL, "No tokenizer files found in /models/x"), (called.code, called.text))

    def test_left(self) -> None:
        """A client may leave before the archive is there."""
        waiting: Deferred[tuple[bytes, str]] = Deferred()
        self.begin(lambda: waiting)
        self.fetch().stream.cancel()
        self.clock.advance(0)
        self.assertTrue(waiting.called)
        waiting.addErrback(lambda _: None)
