"""What is shown of a request."""

from hashlib import sha256
from typing import Any

import orjson
from jsonschema_rs import Draft202012Validator
from pydantic import TypeAdapter
from twisted.trial.unittest import SynchronousTestCase

from tests.api.test_shapes import closed
from tests.fakes import request_for
from vllmsim.api.records import record_line, record_object
from vllmsim.api.shapes.journal import RecordedRequest
from vllmsim.errors import InvalidRequest
from vllmsim.records import HttpFacts, RequestRecord


def http(body: bytes = b"", length: int | None = None, **headers: str) -> HttpFacts:
    """Make what a request is over HTTP."""
    given = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    return HttpFacts("POST", "/v1/chat/completions?x=1", given, body, len(body) if length is None else length, 200)


def shown(record: RequestRecord) -> Any:
    """Read the line of a request."""
    line = record_line(record)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    return orjson.loads(line)


class RecordTests(SynchronousTestCase):
    """One object for each request."""

    def check(self, record: RequestRecord) -> Any:
        """Read a request's line, and check that it has the shape that is documented."""
        value = shown(record)
        validator = Draft202012Validator(closed(TypeAdapter(RecordedRequest).json_schema()))
        self.assertEqual([], [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)])
        return value

    def test_whole(self) -> None:
        """Everything that is known is shown, times since the arrival."""
        record = RequestRecord("/v1/chat/completions", 7, 1, "m", 1000.5, 20.0, http(b'{"model":"x"}', user_agent="me"))
        record.generates(request_for("a", n=2, temperature=0.5), stream=True)
        record.prompt_tokens, record.tenant = 3, "acme"
        for _ in range(2):
            record.sequence_queued(20.0)
            record.sequence_started(20.5, 1)
            record.prefill_planned(0.25)
        record.first_token = 20.75
        for choice in range(2):
            record.choice_ended(choice, 4, "stop")
            record.sequence_left(21.0 + choice)
        record.ends(22.5)
        expected = {
            "number": 7, "rank": 1, "id": "r1", "request_id": "r1", "engine_ids": ["r1"], "trace_id": None,
            "route": "/v1/chat/completions", "tenant": "acme", "method": "POST", "path": "/v1/chat/completions?x=1",
            "state": "done", "outcome": "completed", "status": 200, "grpc_status": None, "error": None, "fault": None,
            "model": "m", "asked": None, "adapter": None, "stream": True, "n": 2, "prompts": 1, "priority": 0,
            "sampling": {"n": 2, "temperature": 0.5}, "prompt_tokens": 3, "cached_tokens": 2, "generated_tokens": 8,
            "preemptions": 0,
            "choices": [{"index": index, "tokens": 4, "finish_reason": "stop"} for index in range(2)],
            "waiting": 0, "running": 0, "arrived": 1000.5,
            "times": {"queued": 0.0, "started": 0.5, "first_token": 0.75, "last_token": 2.0, "finished": 2.5},
            "planned_time_to_first_token": 0.25, "headers": {"user-agent": "me"}, "body_bytes": 13,
            "body": {"model": "x"},
        }  # fmt: skip
        self.assertEqual(expected, self.check(record))

    def test_query(self) -> None:
        """Arguments of a query that are called like secrets are shown by their hashes, all else as it was sent."""
        for sent, shown in (
            ("/x?a=1&api%5Fkey=s%33cret&b=", f"/x?a=1&api%5Fkey=sha256:{sha256(b's3cret').hexdigest()[:12]}&b="),
            ("/x?token", "/x?token"),
            ("/x?token=", "/x?token="),
            ("/x?", "/x?"),
            ("http://me:pass@host/x", "http://***@host/x"),
        ):
            facts = http()
            facts.path = sent
            record = RequestRecord("/x", 1, 0, "m", 1.0, 1.0, facts)
            self.assertEqual(shown, self.check(record)["path"])

    def test_new(self) -> None:
        """Of a request that has just come little is known."""
        value = self.check(RequestRecord("/v1/embeddings", 1, 0, "m", 1.0, 1.0, http()))
        self.assertEqual(("reading", None, None, None), tuple(value[n] for n in ("state", "outcome", "id", "model")))

    def test_without_http(self) -> None:
        """A request need not have come over HTTP."""
        value = self.check(RequestRecord("Generate", 1))
        self.assertEqual((None, None, None, {}), tuple(value[n] for n in ("method", "path", "status", "headers")))

    def test_error(self) -> None:
        """What the client was told is shown, and no status while there is no answer."""
        record = RequestRecord("/x", 1, http=HttpFacts("POST", "/x", {}))
        record.fails(InvalidRequest("no"))
        value = self.check(record)
        self.assertEqual(({"type": "BadRequestError", "message": "no"}, None), (value["error"], value["status"]))

    def test_huge_numbers(self) -> None:
        """Numbers that no reader of JSON knows are shown as text."""
        record = RequestRecord("/x", 1)
        record.generates(
            request_for("a", n=10**3000, top_k=-(2**63) - 1, temperature=float("nan"), logit_bias=(10**30, 5)),
            stream=False,
        )
        value = self.check(record)
        self.assertEqual("1" + "0" * 63, value["n"])
        self.assertEqual((str(-(2**63) - 1), None), (value["sampling"]["top_k"], value["sampling"]["temperature"]))
        self.assertEqual([str(10**30), 5], value["sampling"]["logit_bias"])


class SecretTests(SynchronousTestCase):
    """What clients must keep to themselves."""

    def test_headers(self) -> None:
        """Keys are told from one another, and never shown; what is none is shown."""
        headers = shown(
            RequestRecord(
                "/x",
                http=http(
                    authorization="Bearer sk-1", x_api_key="sk-1", cookie="a=b; c=d", x_auth_token="t",
                    proxy_authorization="Basic eA==", x_authorization="my secret", idempotency_key="k",
                    x_max_tokens="5",
                ),
            )
        )["headers"]  # fmt: skip
        key = headers["x-api-key"]
        self.assertRegex(key, r"^sha256:[0-9a-f]{12}$")
        self.assertEqual(f"Bearer {key}", headers["authorization"])
        self.assertRegex(headers["proxy-authorization"], r"^Basic sha256:[0-9a-f]{12}$")
        for name in ("cookie", "x-auth-token", "x-authorization"):
            self.assertRegex(headers[name], r"^sha256:[0-9a-f]{12}$")
        self.assertEqual(("k", "5"), (headers["idempotency-key"], headers["x-max-tokens"]))


class BodyTests(SynchronousTestCase):
    """What is kept of a body."""

    def test_forms(self) -> None:
        """A whole body that is JSON is shown as JSON, on one line; any other as text; none as null."""
        deep = b"[" * 400 + b"]" * 400
        cases: tuple[tuple[bytes, int | None, Any], ...] = (
            (b'{\n "a": [1,\n 2]}', None, {"a": [1, 2]}), (b'{"a": 1', None, '{"a": 1'), (b'{"a"', 99, '{"a"'),
            (b"\xff\n", None, "\ufffd\n"), (b"", None, None), (b"", 99, None), (deep, None, deep.decode()),
            (b"[NaN]", None, "[NaN]"),
        )  # fmt: skip
        for body, length, expected in cases:
            value = shown(RequestRecord("/x", http=http(body, length)))
            self.assertEqual((expected, len(body) if length is None else length), (value["body"], value["body_bytes"]))

    def test_left_out(self) -> None:
        """Lists of requests need not have bodies."""
        self.assertNotIn("body", record_object(RequestRecord("/x", http=http(b"{}")), body=False))
