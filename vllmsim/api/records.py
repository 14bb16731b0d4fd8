# -*- test-case-name: tests.api.test_records -*-
"""Writes what is remembered of a request, for ``/admin/requests`` and for the request log.

One JSON object for each request. ``times`` are seconds since its arrival; ``arrived`` is since the epoch. What of the
body is kept is shown as the JSON that it is, or as text when it was cut or is no JSON. Keys, tokens and cookies in
headers and queries are never shown: a few digits of their hash are, so that one key can be told from another.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import orjson
from attrs import asdict

from vllmsim.records import HttpFacts, RequestRecord
from vllmsim.sampling import Sampling
from vllmsim.secrecy import looks_secret, open_target

_SCHEMES: Final = frozenset({b"basic", b"bearer"})
_DIGITS: Final = 12
_USUAL: Final = asdict(Sampling())
_LEAST, _MOST = -(2**63), 2**64 - 1
_LONGEST_NUMBER: Final = 64


def record_line(record: RequestRecord) -> bytes:
    """Write a request, with what is kept of its body, as a line of the request log."""
    return orjson.dumps(record_object(record, body=True), option=orjson.OPT_APPEND_NEWLINE)


def record_object(record: RequestRecord, *, body: bool) -> dict[str, Any]:
    """Make the object that tells of a request.

    :param body: whether what is kept of its body is shown.
    """
    http = record.http
    shown: dict[str, Any] = {
        "number": record.number,
        "rank": record.rank,
        "id": record.answer_id or None,
        "request_id": record.request_id or None,
        "engine_ids": record.engine_ids,
        "trace_id": record.trace_id,
        "route": record.route,
        "tenant": record.tenant,
        "method": None if http is None else http.method,
        "path": None if http is None else open_target(http.path, lambda value: _hidden(unquote_to_bytes(value))),
        "state": record.state,
        "outcome": record.outcome,
        "status": (http.status or None) if http is not None else None,
        "grpc_status": None if http is None else http.grpc_status,
        "error": _error(record),
        "fault": record.fault,
        "model": record.model or None,
        "asked": record.asked,
        "adapter": record.adapter,
        "stream": record.stream,
        "n": 1 if record.sampling is None else _number(record.sampling.n),
        "prompts": record.prompts,
        "priority": record.priority,
        "sampling": {} if record.sampling is None else _given(record.sampling),
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "generated_tokens": record.generated_tokens,
        "preemptions": record.preemptions,
        "choices": [
            {"index": choice, "tokens": tokens, "finish_reason": reason}
            for choice, (tokens, reason) in sorted(record.choices.items())
        ],
        "waiting": record.waiting,
        "running": record.running,
        "arrived": record.arrived,
        "times": {
            name: _since(record.began, time)
            for name, time in (
                ("queued", record.queued),
                ("started", record.started),
                ("first_token", record.first_token),
                ("last_token", record.last_token),
                ("finished", record.finished),
            )
        },
        "planned_time_to_first_token": record.planned_first_token,
        "headers": {} if http is None else dict(headers_of(http)),
        "body_bytes": 0 if http is None else http.body_bytes,
    }
    if body and http is not None:
        shown["body"] = _body(http)
    return shown


def headers_of(http: HttpFacts) -> Iterator[tuple[str, str]]:
    """List the headers of a request by their names in lower case, without secrets."""
    for name, value in http.headers.items():
        text = name.decode("latin-1")
        yield text, _shown(text, value)


def header_of(http: HttpFacts, name: str) -> str | None:
    """Look one of them up, by its name in lower case."""
    value = http.headers.get(name.encode("latin-1", "replace"))
    return None if value is None else _shown(name, value)


def _shown(name: str, value: bytes) -> str:
    return _hidden(value) if looks_secret(name) else value.decode("latin-1")


def _hidden(value: bytes) -> str:
    """Show what kind of secret it is, and which."""
    scheme, _, secret = value.partition(b" ")
    if scheme.lower() not in _SCHEMES:
        scheme, secret = b"", value
    return f"{scheme.decode()} sha256:{sha256(secret).hexdigest()[:_DIGITS]}".lstrip()


def _error(record: RequestRecord) -> dict[str, Any] | None:
    if record.error_type is None:
        return None
    return {"type": record.error_type, "message": record.error_message}


def sequences_object(records: Iterable[RequestRecord]) -> dict[str, dict[str, int]]:
    """Count the sequences of some requests, by the model that answers; models without any are left out."""
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        if record.waiting or record.running:
            of_model = counts.setdefault(record.model, {"waiting": 0, "running": 0})
            of_model["waiting"] += record.waiting
            of_model["running"] += record.running
    return counts


def _since(began: float, time: float | None) -> float | None:
    return None if time is None else round(time - began, 6)


def _given(sampling: Sampling) -> dict[str, Any]:
    """List the parameters that are not what they are unless a request says so."""
    given = asdict(sampling)
    return {name: _number(value) for name, value in given.items() if value != _USUAL[name]}


def _number(value: Any) -> Any:
    """Show a number that JSON's reader may not know as text: clients send any."""
    if isinstance(value, tuple):
        return [_number(each) for each in value]
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        return str(value)[:_LONGEST_NUMBER]
    return value


def _body(http: HttpFacts) -> Any:
    if not http.body:
        return None
    if len(http.body) == http.body_bytes:
        try:
            # Written here, since an object of many levels can be read and not be written.
            return orjson.Fragment(orjson.dumps(orjson.loads(http.body)))
        except (TypeError, ValueError):
            pass
    return http.body.decode("utf-8", "replace")
