# -*- test-case-name: tests.api.engine.test_transfer -*-
"""Tests for :mod:`vllmsim.api.engine.transfer`."""

import json
from typing import Any

from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.engine.transfer import read_transfer, write_transfer
from vllmsim.api.transfer import NO_TRANSFER, PrefillSource, Transfer
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Answer, Prefill


def read(text: str | None = None, **older: Any) -> Transfer | None:
    """Read what a request says."""
    params = pb.KvTransferParams(**older) if older else None
    return read_transfer(pb.GenerateRequest(kv_transfer_params_json=text, kv_transfer_params=params))


class ReadingTests(SynchronousTestCase):
    """What requests say."""

    def test_nothing(self) -> None:
        """A request that says nothing is another than one that says that there is nothing."""
        self.assertIsNone(read())
        self.assertEqual(NO_TRANSFER, read("{}"))

    def test_json(self) -> None:
        """The object is that of requests over HTTP, and comes before the older message."""
        self.assertEqual(Transfer(handed_over=True), read('{"do_remote_decode": true}', remote_host="h", remote_port=1))
        fetched = read('{"do_remote_prefill": true, "remote_num_tokens": 7, "x": [1]}')
        self.assertEqual(Transfer(prefilled=True, tokens=7), fetched)

    def test_older(self) -> None:
        """The older message says where the prompt was computed."""
        self.assertEqual(Transfer(prefilled=True), read(remote_host="h", remote_port=65535))

    def test_refusals(self) -> None:
        """What cannot be read, or is no such object, is refused."""
        for text, told in (
            ("{", "Invalid kv_transfer_params_json: Expecting property name"),
            ("[]", "kv_transfer_params_json must be a JSON object"),
            ("null", "kv_transfer_params_json must be a JSON object"),
            ("[" * 100_000, "Invalid kv_transfer_params_json"),
            ("9" * 5000, "Invalid kv_transfer_params_json"),
            ('{"remote_num_tokens": -1}', "kv_transfer_params_json: remote_num_tokens: "),
            ('{"do_remote_prefill": 7}', "kv_transfer_params_json: do_remote_prefill: "),
        ):
            self.assertIn(told, self.assertRaises(InvalidRequest, read, text).message)
        for host, port in (("", 5), ("h", 0), ("h", 65536)):
            error = self.assertRaises(InvalidRequest, read, remote_host=host, remote_port=port)
            self.assertIn("remote_host must be set and remote_port must be in [1, 65535].", error.message)


class WritingTests(SynchronousTestCase):
    """What answers say."""

    def test_forms(self) -> None:
        """Where blocks are is said as JSON, and in the older message where that can have it."""
        said = Answer((1,), ("a",), ("a",), "length", prefill=Prefill(20))
        for port, older in ((5600, True), (65536, False)):
            complete = pb.GenerateComplete()
            handover = PrefillSource(host="h", port=port).handover("r", said, 0)
            write_transfer(complete, handover)
            self.assertEqual(handover, json.loads(complete.kv_transfer_params_json))
            self.assertEqual(older, complete.HasField("kv_transfer_params"))
        self.assertEqual("h", handover["remote_host"] if handover else None)

    def test_nothing(self) -> None:
        """Where there is nothing to fetch nothing is said."""
        complete = pb.GenerateComplete()
        write_transfer(complete, None)
        self.assertEqual(pb.GenerateComplete(), complete)
