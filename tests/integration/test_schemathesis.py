"""Requests that nobody thought of, made from the daemon's own description of its routes.

schemathesis reads ``/openapi.json`` and makes requests that fit it, and some that do not. No answer may be a fault of
the server, or anything that the document does not have: status, media type, body, events. A few hundred are made with a
fixed seed; ``make fuzz`` makes thousands.
"""

import contextlib
import json
from collections.abc import Iterator
from http import HTTPStatus
from random import Random
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.report import PLAYED, SEED, Figures, cases
from tests.integration.daemon import PATIENCE, DaemonTestCase
from tests.test_docs import EVERYTHING

CASES = cases("described requests", 300)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

UNDONE_BY = {"/pause": "/resume", "/sleep": "/wake_up", "/start_profile": "/stop_profile"}
"""Routes that stop the server for others, and the route that lets it go on."""
UNSUPPORTED = {"/v1/decisions", "/v1/systemone"}
"""Routes that ordinary models answer 501, as vLLM does."""
REFUSED = {"/admin/clock/advance", "/admin/clock/run-until-idle"}
"""Routes that a server refuses whose time goes on by itself."""


def references(value: Any) -> Iterator[str]:
    """Find the names of the components that a part of the document refers to."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each.rpartition("/")[2]
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def closed(document: Any) -> Any:
    """Let answers have no member that the document does not name, though it does not forbid them."""
    components = document["components"]["schemas"]
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    asked, found = set(), set(references([each.get("requestBody") for each in operations]))
    while found:
        asked |= found
        found = set(references([components[name] for name in found])) - asked
    for name, schema in components.items():
        if name not in asked and "properties" in schema:
            schema["additionalProperties"] = False
    return document


class FuzzTests(DaemonTestCase):
    """Made requests against the daemon."""

    words = (
        *("--model", "m", "--max-model-len", "512", "--reasoning-parser", "qwen3", "--omni"),
        *("--enable-sleep-mode", "--enable-responses-store", "--enable-prompt-tokens-details", *EVERYTHING),
        *("--fake-metrics", "{}"),
    )
    maxDiff = None

    def setUp(self) -> None:
        """Read the document."""
        self.document = closed(json.loads(self.daemon.get("/openapi.json")))
        self.schema = schemathesis.openapi.from_dict(self.document)
        self.schema.config.update(base_url=self.daemon.url())
        self.session = requests.Session()
        self.addCleanup(self.session.close)
        self.sent = 0
        answer = self.session.post(self.daemon.url("/v1/responses"), json={"input": "Hello!"}, timeout=PATIENCE)
        self.known = {"response_id": answer.json()["id"], "adapter_name": "known"}

    def operations(self) -> list[Any]:
        """List the operations of the document."""
        return [result.ok() for result in self.schema.get_all_operations()]

    def test_made(self) -> None:
        """Whatever is asked, the answer is one that the document has, and none is a fault."""
        self.figures = Figures("described requests")
        PLAYED.append(self.figures)
        operations = self.operations()
        varied = [each for each in operations if each.body or each.query or each.path_parameters]
        share = -(-CASES // len(varied))
        for operation in operations:
            wrong = self.fuzz(operation, GenerationMode.NEGATIVE, max(1, share // 3))
            self.fuzz(operation, GenerationMode.POSITIVE, max(1, share - wrong) if operation in varied else 1)
        while self.sent < CASES:
            self.fuzz(varied[self.sent % len(varied)], GenerationMode.POSITIVE, CASES - self.sent)
        self.figures.notes = f"{len(operations)} operations"
        self.figures.tell()

    def fuzz(self, operation: Any, mode: GenerationMode, most: int) -> int:
        """Make requests for one operation.

        :return: how many.
        """
        before = self.sent

        @seed(SEED + self.sent)
        @settings(
            max_examples=most,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            self.sent += 1
            if self.sent % 2 and mode.is_positive:
                self.moderate(case, Random(SEED + self.sent))
            self.send(case)

        # Not every operation can be asked for what the document does not allow.
        with contextlib.suppress(Unsatisfiable):
            send()
        return self.sent - before

    def moderate(self, case: Any, random: Random) -> None:
        """Make a request more likely to be served: with names that are known, and few members beside the example's."""
        if "adapter_name" in case.path_parameters:
            self.session.post(self.daemon.url("/adapters"), json={"name": "known", "src": "/known"}, timeout=PATIENCE)
        case.path_parameters = {name: self.known.get(name, each) for name, each in case.path_parameters.items()}
        example = self.example(case.operation.path, case.method.lower())
        if example is not None and isinstance(case.body, dict):
            names = random.sample(sorted(case.body), min(3, len(case.body)))
            case.body = {**example, **{name: case.body[name] for name in names}}

    def example(self, path: str, method: str) -> Any:
        """Find the example of an operation; None if it has none."""
        body = self.document["paths"][path][method].get("requestBody", {"content": {}})
        return body["content"].get("application/json", {}).get("example")

    def send(self, case: Any) -> None:
        """Send a request and judge the answer."""
        if "wait_for" in case.query:
            # Nobody sends what it waits for.
            case.query["timeout"] = 0.05
        response = case.call(session=self.session, timeout=PATIENCE)
        if (undo := UNDONE_BY.get(case.operation.path)) is not None:
            self.session.post(self.daemon.url(undo))
        try:
            if case.operation.path in UNSUPPORTED:
                assert response.status_code in {400, 501}, response.status_code
                case.validate_response(response, checks=CHECKS[1:])
            else:
                case.validate_response(response, checks=CHECKS)
        except (FailureGroup, AssertionError) as failure:
            reasons = getattr(failure, "exceptions", [failure])
            self.figures.findings.append("\n".join([case.as_curl_command(), *map(str, reasons), response.text[:500]]))
        else:
            self.figures.count(refused=response.status_code >= HTTPStatus.BAD_REQUEST)

    def test_examples(self) -> None:
        """Every example of the document is served, where it can be."""
        tried = 0
        for path, methods in self.document["paths"].items():
            for method in methods:
                example = self.example(path, method)
                if example is not None:
                    response = self.session.request(method, self.daemon.url(path), json=example, timeout=PATIENCE)
                    most = HTTPStatus.CONFLICT if path in REFUSED else HTTPStatus.IM_USED
                    self.assertLessEqual(response.status_code, most, f"{path}: {response.text}")
                    tried += 1
        self.assertGreater(tried, 3)
