"""What vllm.Control tells, and how what it is told is read."""

from typing import Any

from attrs import evolve
from google.protobuf.json_format import MessageToDict
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.controlservice.answers import (
    ServerFacts,
    clears_cache,
    event_sources,
    loras,
    pause_mode,
    sleep_level,
    wake_tags,
)
from vllmsim.api.controlservice.messages import CONTROL
from vllmsim.errors import InvalidParameter
from vllmsim.models import ModelCatalogue

FACTS = ServerFacts(
    version="0.33.0",
    instance="e1",
    tensor_parallel_size=2,
    pipeline_parallel_size=3,
    data_parallel_size=4,
    rank=1,
    max_model_len=4096,
    block_size=16,
    blocks=1024,
    max_num_seqs=5,
    max_loras=6,
    model="/models/m",
    names=("a", "b", "c"),
    reasoning_parser="qwen3",
    tool_call_parser="hermes",
)


def request(method: str, **members: Any) -> Any:
    """Make what a method takes."""
    return CONTROL.message(f"{method}Request")(**members)


class TellingTests(SynchronousTestCase):
    """What a server tells of itself."""

    def test_server(self) -> None:
        """A server tells its release, its sizes and its limits; not what it has no limit of."""
        expected = {
            "engineVersion": "0.33.0",
            "apiVersion": "1",
            "instanceId": "e1",
            "parallelism": {
                "tensorParallelSize": 2,
                "pipelineParallelSize": 3,
                "dataParallelSize": 4,
                "dataParallelRank": 1,
            },
            "maxModelLen": 4096,
            "kvBlockSize": 16,
            "totalKvBlocks": "1024",
            "maxRunningRequests": 5,
            "maxLoras": 6,
            "effectiveAttentionBlockSize": 16,
        }
        self.assertEqual(expected, MessageToDict(FACTS.server_info()))

    def test_large(self) -> None:
        """A limit that is larger than there is room for is told as the largest."""
        told = evolve(FACTS, max_model_len=2**40, max_num_seqs=2**64).server_info()
        self.assertEqual((2**32 - 1, 2**32 - 1), (told.max_model_len, told.max_running_requests))

    def test_model(self) -> None:
        """A model tells its name and the others that it goes by, and that it takes texts and token ids."""
        expected = {
            "modelId": "/models/m",
            "servedModelName": "a",
            "servedModelAliases": ["b", "c"],
            "supportsTextInput": True,
            "supportsTokenIdsInput": True,
            "supportsLora": True,
            "reasoningParser": "qwen3",
            "toolCallParser": "hermes",
        }
        self.assertEqual(expected, MessageToDict(FACTS.model_info()))

    def test_loras(self) -> None:
        """Adapters are told with their paths, their numbers and what they adapt; names of the model are none."""
        models = ModelCatalogue("/models/m", ("a", "b"))
        self.assertEqual({}, MessageToDict(loras(models)))
        models.add("poet", "/p", None)
        models.add("painter", "/q", "b")
        expected = [
            {"loraName": "poet", "loraPath": "/p", "loraId": 1, "base": "a"},
            {"loraName": "painter", "loraPath": "/q", "loraId": 2, "base": "b"},
        ]
        self.assertEqual({"loras": expected}, MessageToDict(loras(models)))

    def test_sources(self) -> None:
        """Each rank tells where its KV events are, and no more than it knows."""
        zmq = {"publisher": "zmq", "endpoint": "tcp://*:5558", "replay_endpoint": None, "topic": "t", "hwm": 7}
        told = event_sources({1: zmq | {"buffer_steps": 5, "max_queue_size": 6}, 0: {"publisher": "mine", "topic": ""}})
        expected = [
            {"transport": "mine", "encoding": "msgpack"},
            {
                "transport": "zmq",
                "endpoint": "tcp://*:5558",
                "topic": "t",
                "dataParallelRank": 1,
                "encoding": "msgpack",
                "bufferSteps": 5,
                "hwm": 7,
                "maxQueueSize": 6,
            },
        ]
        self.assertEqual({"sources": expected}, MessageToDict(told))


class ReadingTests(SynchronousTestCase):
    """What a server is told."""

    def test_modes(self) -> None:
        """A pause that does not say how aborts what runs; a number that means nothing is refused."""
        self.assertEqual(["abort", "wait", "keep"], [pause_mode(number) for number in range(3)])
        self.assertEqual("abort", pause_mode(request("Sleep").mode))
        self.assertIn("mode must be", self.assertRaises(InvalidParameter, pause_mode, 3).message)

    def test_cache(self) -> None:
        """A pause empties the prefix cache unless it is told not to."""
        given = [{}, {"clear_cache": True}, {"clear_cache": False}]
        self.assertEqual([True, True, False], [clears_cache(request("PauseGeneration", **each)) for each in given])

    def test_level(self) -> None:
        """A server sleeps at level 1 unless it is told; there are three levels."""
        given = [{}, {"level": 0}, {"level": 2}]
        self.assertEqual([1, 0, 2], [sleep_level(request("Sleep", **each)) for each in given])
        self.assertRaises(InvalidParameter, sleep_level, request("Sleep", level=3))

    def test_tags(self) -> None:
        """What wakes up is named, or everything does; what never sleeps is refused."""
        self.assertEqual(frozenset(), wake_tags(request("WakeUp")))
        self.assertEqual({"weights"}, wake_tags(request("WakeUp", tags=["weights", "weights"])))
        error = self.assertRaises(InvalidParameter, wake_tags, request("WakeUp", tags=["x" * 9999]))
        self.assertLess(len(error.message), 200)
