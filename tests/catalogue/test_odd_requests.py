"""Faults 3, 5a and 5b: what clients send or leave, which ended the original's process or one of its threads."""

import itertools
import json
import random
import socket
import time
from contextlib import closing
from typing import Any, ClassVar, Final

import grpc
import zmq
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.catalogue import places
from tests.catalogue.case import CHAT, COMPLETIONS, MESSAGES, RESPONSES, BrokenTestCase
from tests.integration.daemon import PATIENCE, free_port
from tests.test_docs import EVERYTHING

TOOLS: Final = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--model", "m", "--max-model-len", "512")
ODD: Final[tuple[Any, ...]] = (
    *(10**15, 2**63, 2**64, -1, 1.5, "7", 0, 2**31, 2**63 - 1, -(2**63), 10**400, 1e308),
    *("x", None, True, [], {}, float("nan")),
)
"""What a field that is an integer may be given instead."""
_P: Final = "p"


def tool_schemas() -> list[Any]:
    """Make parameters of which the original did not survive some, and others like them."""
    odd: tuple[Any, ...] = (
        None,
        True,
        -1,
        1.5,
        10**15,
        2**64,
        "x",
        "[",
        [],
        {},
        [{"type": "string"}],
        ["a"],
        [[]],
        {"$ref": "#"},
        float("nan"),
    )
    keys = (
        "items",
        "properties",
        "required",
        "minItems",
        "maxItems",
        "minLength",
        "minimum",
        "enum",
        "type",
        "pattern",
        "anyOf",
        "$ref",
    )
    kinds = ("array", "object", "string", "integer", ["array", "null"], "widget")
    found: list[Any] = [{"type": "object", "properties": {_P: {"type": kind}}, "required": [_P]} for kind in kinds]
    for kind, key, value in itertools.product(kinds, keys, odd):
        found.append({"type": "object", "properties": {_P: {"type": kind, key: value}}, "required": [_P]})
    found += [{"type": "object", key: value} for key, value in itertools.product(keys, odd)]
    found += odd
    # The original's own three: a list of items, bounds that are no numbers, and neither items nor properties.
    both = {"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "minItems": "2", "maxItems": [3]}
    return [*found, {"type": "object", "properties": {_P: both, "q": {"type": "object"}}, "required": [_P, "q"]}]


class ToolTestCase(BrokenTestCase):
    """Tests that call tools with odd schemas."""

    def asked(self, schema: Any) -> list[tuple[str, Any]]:
        """Write the requests that must call a tool with such parameters."""
        function = {"name": "f", "description": "d", "parameters": schema}
        tool = {"name": "f", "description": "d", "input_schema": schema}
        turn = [{"role": "user", "content": "x"}]
        return [
            (
                CHAT,
                {"messages": turn, "tools": [{"type": "function", "function": function}], "tool_choice": "required"},
            ),
            (RESPONSES, {"input": "x", "tools": [{"type": "function", **function}], "tool_choice": "required"}),
            (
                MESSAGES,
                {"model": "m", "messages": turn, "max_tokens": 400, "tools": [tool], "tool_choice": {"type": "any"}},
            ),
        ]

    def try_schemas(self) -> None:
        """Hold that each is satisfied or refused, on all surfaces."""
        served = refused = 0
        for number, schema in enumerate(tool_schemas()):
            for path, body in self.asked(schema):
                status, answer = self.ask(path, {**body, "stream": number % 5 == 0})
                self.assertIn(status, {200, 400}, (path, schema, answer))
                served += status == 200
                refused += status == 400
        self.assertGreater(min(served, refused), 100)
        self.well()


class UncheckedTests(ToolTestCase):
    """Fault 3 on a server that does not validate tools."""

    words = (*TOOLS, "--skip-tool-validation", "--max-model-len", "131072")

    def test_schemas(self) -> None:
        """3: Where tools are not validated either, one of which nothing can be made is refused when it is called."""
        self.try_schemas()

    def test_many_tokens(self) -> None:
        """5a: Answers that would fill the memory together are refused before they are made."""
        before = self.daemon.resident()
        for asked in (
            {"prompt": "x", "n": 1000, "max_tokens": 130_000, "ignore_eos": True},
            {"prompt": "x", "n": 1000, "max_tokens": 130_000, "ignore_eos": True, "stream": True},
            {"prompt": ["x"] * 500, "max_tokens": 4096, "min_tokens": 4096, "logprobs": 20},
            {"prompt": "x " * 60_000, "n": 500, "prompt_logprobs": 20, "max_tokens": 1},
        ):
            status, answer = self.ask(COMPLETIONS, asked)
            self.assertEqual(400, status)
            self.assertIn(b"more than 4194304 tokens", answer)
        self.assertLess(self.daemon.resident() - before, 100_000, "KiB more are resident")
        self.well()


class ServedTests(ToolTestCase):
    """Faults 3, 5a and 5b: what clients send, and who hears of it."""

    events: ClassVar[int]
    undone: ClassVar[dict[str, str]] = {
        "/start_profile": "/stop_profile",
        "Sleep": "/wake_up",
        "PauseGeneration": "/resume",
    }

    @classmethod
    def setUpClass(cls) -> None:
        """Start a daemon that has everything."""
        cls.events = free_port()
        events = ("--enable-kvcache", "--zmq-endpoint", f"tcp://*:{cls.events}", "--event-batch-size", "1")
        cls.words = (*TOOLS, "--omni", "--enable-sleep-mode", "--enable-responses-store", *EVERYTHING, *events)
        super().setUpClass()

    def test_schemas(self) -> None:
        """3: A tool of which nothing can be made is refused, on every surface; any other is called."""
        self.try_schemas()

    def test_http(self) -> None:
        """5a: No number in any field of any body costs more than its request: it is served, or refused as a mistake."""
        document = json.loads(self.daemon.get("/openapi.json"))
        before, sent = self.daemon.resident(), 0
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                body = operation.get("requestBody", {}).get("content", {}).get("application/json")
                found = places.numbers(document["components"]["schemas"], body["schema"]) if body else ()
                for place in sorted(found, key=str):
                    for value in ODD:
                        request = places.put(body.get("example") or {}, place, value)
                        if place[-1] == "top_logprobs":
                            request["logprobs"] = True
                        status, answer = self.ask(path, request, method.upper())
                        sent += 1
                        self.assertIn(status, {200, 204, 400, 404, 409, 429}, (path, place, value, answer[:500]))
                if path in self.undone:
                    self.ask(self.undone[path], None)
        self.assertGreater(sent, 5000)
        self.assertLess(self.daemon.resident() - before, 100_000, "KiB more are resident")
        self.well()

    def test_grpc(self) -> None:
        """5a: Nor does any in any field of any gRPC message."""
        channel = grpc.insecure_channel(f"127.0.0.1:{self.daemon.port}")
        self.addCleanup(channel.close)
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        sent = 0
        for service in database.get_services():
            for method in pool.FindServiceByName(service).methods:
                for place in places.fields(method.input_type):
                    for value in places.extremes(place[-1]):
                        self.call(channel, method, place, value)
                        sent += 1
        self.assertGreater(sent, 200)
        self.well()

    def call(self, channel: grpc.Channel, method: Any, place: Any, value: float) -> None:
        """Call a method with a value in a field; the answer must be one, or blame the client."""
        request: Any = GetMessageClass(method.input_type)()
        if method.name.startswith("Generate"):
            (request.tokenized.input_ids if hasattr(request, "tokenized") else request.token_ids.ids).extend([1, 2])
        places.put_field(request, place, value)
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        path = f"/{method.containing_service.full_name}/{method.name}"
        read = GetMessageClass(method.output_type).FromString
        call = getattr(channel, kind)(path, type(request).SerializeToString, read)
        # A subscription has no end, so that it is given one.
        seconds = 0.3 if method.name == "SubscribeKvEvents" else PATIENCE
        given = iter([request]) if method.client_streaming else request
        try:
            answer = call(given, timeout=seconds)
            if method.server_streaming:
                list(answer)
        except grpc.RpcError as error:
            code = error.code()
            fine = {"INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
            if seconds < 1:
                fine.add("DEADLINE_EXCEEDED")
            self.assertIn(code.name, fine, (path, [each.name for each in place], value, error.details()))
        if method.name in self.undone:
            self.ask(self.undone[method.name], None)

    def subscribe(self) -> zmq.Socket[bytes]:
        """Subscribe to all events."""
        subscriber = zmq.Context().socket(zmq.SUB)
        self.addCleanup(subscriber.context.destroy, 0)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        subscriber.connect(f"tcp://127.0.0.1:{self.events}")
        return subscriber

    def heard(self, subscriber: zmq.Socket[bytes]) -> int:
        """Have prompts stored until a subscriber hears of one; tell the number of that batch."""
        end = time.monotonic() + PATIENCE
        while not subscriber.poll(20):
            self.assertLess(time.monotonic(), end, "nothing is published any more")
            self.say([random.randrange(1000, 30_000) for _ in range(40)], max_tokens=1)
        return int.from_bytes(subscriber.recv_multipart()[1], "big")

    def test_subscribers_leave(self) -> None:
        """5b: A subscriber that leaves, or breaks off in the middle, ends the events for nobody else."""
        last = -1
        for number in range(4):
            subscriber = self.subscribe()
            heard = self.heard(subscriber)
            self.assertGreater(heard, last)
            last = heard
            if number % 2:
                subscriber.close(0)
            else:
                with closing(self.raw_subscriber()):
                    self.heard(subscriber)
                subscriber.context.destroy(0)
        self.well()

    def raw_subscriber(self) -> socket.socket:
        """Connect as one who says a part of ZeroMQ's greeting and no more."""
        connection = socket.create_connection(("127.0.0.1", self.events), PATIENCE)
        connection.sendall(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL")
        return connection
