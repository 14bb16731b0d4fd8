"""The calls that operate a server."""

from typing import Any

from smg_grpc_proto.generated import common_pb2 as common
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from tests.grpc.calling import Called, CallTestCase, call
from tests.parallel.test_control import HeardControl
from vllmsim.grpc.operations import OperationCalls
from vllmsim.grpc.status import Code
from vllmsim.scheduling.health import RankHealth
from vllmsim.scheduling.lifecycle import rank_lifecycle
from vllmsim.web.profiling import Profiler

PATH = "/vllm.grpc.engine.VllmEngine/"
OPTIONS: tuple[dict[str, Any], ...] = (
    {"output_dir": "/traces"},
    {"start_step": 0},
    {"num_steps": 3},
    {"with_stack": False},
    {"record_shapes": True},
    {"activities": ["CPU"]},
    {"profile_by_stage": True},
)


class OperationTestCase(CallTestCase):
    """Tests of a server whose cache can be flushed when the test says so."""

    def setUp(self) -> None:
        """Serve, with a profiler."""
        self.begin(Profiler())

    def begin(self, profiler: Profiler | None) -> None:
        """Serve."""
        self.control = HeardControl()
        self.serve()
        self.lifecycle = rank_lifecycle(self.clock, 1.0)
        self.health = RankHealth(self.lifecycle)
        self.root.add(OperationCalls(self.clock, self.health, self.control, profiler))

    def ask(self, method: str, request: Any, answer: Any) -> Called:
        """Call a method."""
        return self.call(PATH + method, answer, request)

    def told(self, called: Called) -> Any:
        """Find the one message of a call that went well."""
        self.assertEqual((Code.OK, ""), (called.code, called.text))
        [message] = called.messages
        return message


class HealthCheckTests(OperationTestCase):
    """Whether it is well."""

    def check(self) -> tuple[bool, str]:
        """Ask."""
        answer = self.told(self.ask("HealthCheck", pb.HealthCheckRequest(), pb.HealthCheckResponse))
        return answer.healthy, answer.message

    def test_life(self) -> None:
        """It is while requests should be sent here: not while it loads, nor when it takes no more."""
        self.lifecycle.start()
        self.assertEqual((False, "Engine is not ready"), self.check())
        self.clock.advance(1)
        self.assertEqual((True, "Health"), self.check())
        self.health.willing = False
        self.assertEqual((False, "Engine is not ready"), self.check())
        self.health.willing = True
        self.lifecycle.drain()
        self.assertEqual((False, "Engine is not ready"), self.check())

    def test_dead(self) -> None:
        """A server that is to be called dead says so in vLLM's words."""
        self.lifecycle.start()
        self.clock.advance(1)
        self.health.healthy = False
        self.assertEqual((False, "Engine is not alive"), self.check())


class AbortTests(OperationTestCase):
    """Requests come to their end."""

    def test_some(self) -> None:
        """Those that are named are ended; that there are none of that name does not matter."""
        self.told(self.ask("Abort", pb.AbortRequest(request_ids=["a", "b"]), pb.AbortResponse))
        self.assertEqual([{"a", "b"}], self.control.heard)

    def test_none(self) -> None:
        """Where none is named, none is ended, and not all."""
        self.told(self.ask("Abort", pb.AbortRequest(), pb.AbortResponse))
        self.assertEqual([], self.control.heard)


class FlushTests(OperationTestCase):
    """The prefix cache is forgotten."""

    def flush(self, seconds: float = 0.0) -> Called:
        """Ask for it."""
        return self.ask("FlushCache", common.FlushCacheRequest(timeout_s=seconds), common.FlushCacheResponse)

    def wait(self, called: Called, *seconds: float) -> None:
        """Let time pass."""
        self.clock.pump(seconds)
        called.stream.client.pump()

    def test_at_once(self) -> None:
        """It is forgotten at once where nothing uses it; external caches and what runs are left alone."""
        self.control.state = True
        answer = self.told(self.flush())
        self.assertEqual((True, "Local KV prefix cache flushed successfully"), (answer.success, answer.message))
        self.assertEqual([(False, False)], self.control.heard)

    def test_refused(self) -> None:
        """Without a time it is tried once, and the answer says that something uses it."""
        answer = self.told(self.flush())
        self.assertEqual(
            (False, "KV prefix cache reset refused; requests may be in flight"), (answer.success, answer.message)
        )
        self.assertEqual(1, len(self.control.heard))

    def test_later(self) -> None:
        """With a time it is tried ten times a second until nothing uses it."""
        called = self.flush(60)
        self.wait(called, *[0.1] * 20)
        self.assertIsNone(called.code)
        self.assertEqual(21, len(self.control.heard))
        self.control.state = True
        self.wait(called, 0.1)
        self.assertTrue(self.told(called).success)

    def test_too_late(self) -> None:
        """When the time is over, so is the call; the last try is at its very end."""
        called = self.flush(0.25)
        self.wait(called, 0.1, 0.1, 0.0625)
        self.assertEqual(Code.DEADLINE_EXCEEDED, called.code)
        self.assertEqual("Flush cache timed out; the engine may still complete an issued reset", called.text)
        self.assertEqual(4, len(self.control.heard))

    def test_left(self) -> None:
        """Nobody tries for a client that has left, though it would have waited for ever."""
        called = self.flush(3e38)
        self.clock.advance(0.1)
        called.stream.cancel()
        self.clock.pump([0.1] * 5)
        self.assertEqual(2, len(self.control.heard))

    def test_wrong(self) -> None:
        """A time that is none is refused."""
        for seconds in (-1.0, float("inf"), float("nan")):
            called = self.flush(seconds)
            self.assertEqual(Code.INVALID_ARGUMENT, called.code)
            self.assertEqual("timeout_s must be finite and non-negative", called.text)
        self.assertEqual([], self.control.heard)

    def test_many(self) -> None:
        """No more than a hundred wait; when one has been answered another may."""
        client = self.connect()
        request = common.FlushCacheRequest(timeout_s=9)
        calls = [call(client, PATH + "FlushCache", common.FlushCacheResponse, request) for _ in range(101)]
        self.assertEqual([None] * 100 + [Code.UNAVAILABLE], [each.code for each in calls])
        calls[0].stream.cancel()
        self.clock.advance(0)
        self.assertIsNone(self.flush(9).code)


class ProfileTests(OperationTestCase):
    """A profiler that is none."""

    def start(self, **options: Any) -> Called:
        """Start it."""
        return self.ask("StartProfile", common.StartProfileRequest(**options), common.ProfileResponse)

    def stop(self) -> Called:
        """Stop it."""
        return self.ask("StopProfile", common.StopProfileRequest(), common.ProfileResponse)

    def test_profile(self) -> None:
        """A profile is started once until it is stopped, which can be done at any time."""
        for _ in range(2):
            self.assertEqual("Start profiling succeeded", self.told(self.start()).message)
            again = self.start()
            self.assertEqual(Code.INTERNAL, again.code)
            self.assertEqual("Start profiling failed: The profiler is running already.", again.text)
            for _ in range(2):
                answer = self.told(self.stop())
                self.assertEqual((True, "Stop profiling succeeded"), (answer.success, answer.message))

    def test_options(self) -> None:
        """What the profiler is told at the start of the server nobody can tell it later."""
        for options in OPTIONS:
            called = self.start(**options)
            self.assertEqual(Code.INVALID_ARGUMENT, called.code)
            self.assertTrue(called.text.startswith(f"StartProfile options {next(iter(options))} cannot be set"))
        self.assertIn("output_dir, num_steps, activities cannot", self.start(
            output_dir="", num_steps=1, activities=["CPU"]).text)  # fmt: skip
        self.told(self.start())

    def test_absent(self) -> None:
        """A server without a profiler says how to have one."""
        self.begin(None)
        for called, verb in ((self.start(), "Start"), (self.stop(), "Stop")):
            self.assertEqual(Code.INTERNAL, called.code)
            self.assertTrue(called.text.startswith(f"{verb} profiling failed: Profiling is not enabled."))
