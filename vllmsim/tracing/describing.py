# -*- test-case-name: tests.tracing.test_describing -*-
"""What the span of a request says: made of its record, under vLLM's names where vLLM has one.

vLLM's ``llm_request`` has the ``gen_ai.latency``, ``gen_ai.usage`` and ``gen_ai.request`` attributes below, in seconds
and tokens; a parameter that is zero is left out, as there, and what is not known. Those that begin with ``vllmsim`` are
ours, and the others are OpenTelemetry's semantic conventions. Nothing of what was said is in a span: no prompt, no
answer and no message.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from vllmsim.records import RequestRecord

Attribute: TypeAlias = str | bool | int | float | Sequence[str]
"""What an attribute of a span can be."""

_MOST: Final = 2**63 - 1
"""The largest number that a span can have: clients send any."""
_ENDS: Final = {"completed": "finished", "aborted": "aborted", "disconnected": "cancelled"}
"""What the last event is called, by what became of a request that was told of no error."""


def nanoseconds(record: RequestRecord, time: float) -> int:
    """Turn a time of the rank's clock into nanoseconds since the epoch."""
    return int((record.arrived + time - record.began) * 1e9)


def attributes_of(record: RequestRecord, max_model_len: int) -> dict[str, Attribute]:
    """List what is known of a request that has ended.

    :param max_model_len: the context window, which bounds answers whose length nobody has bounded.
    """
    found: dict[str, Attribute | None] = {
        "gen_ai.usage.prompt_tokens": record.prompt_tokens,
        "gen_ai.usage.completion_tokens": record.generated_tokens,
        "gen_ai.request.id": _text(record.engine_ids[0] if record.prompts == 1 else record.answer_id),
        **_latencies(record),
        "gen_ai.response.model": _text(record.model),
        "gen_ai.response.finish_reasons": [reason for _, reason in record.choices.values() if reason] or None,
        "error.type": error_of(record),
        "http.route": record.route,
        "http.response.status_code": (record.http.status or None) if record.http is not None else None,
        "rpc.response.status_code": None if record.http is None else record.http.grpc_status,
        "vllmsim.rank": record.rank,
        "vllmsim.number": record.number,
        "vllmsim.outcome": record.outcome,
        "vllmsim.stream": record.stream,
        "vllmsim.prompts": record.prompts,
        "vllmsim.cached_tokens": record.cached_tokens,
        "vllmsim.adapter": _text(record.adapter or ""),
        "vllmsim.fault": _text(record.fault or ""),
        "vllmsim.tenant": _text(record.tenant or ""),
    }
    if (sampling := record.sampling) is not None:
        found["gen_ai.request.max_tokens"] = _limit(record, sampling.max_tokens, max_model_len)
        found["gen_ai.request.top_p"] = sampling.top_p or None
        found["gen_ai.request.temperature"] = sampling.temperature or None
        found["gen_ai.request.n"] = _whole(sampling.n) or None
    return {name: value for name, value in found.items() if value is not None}


def _latencies(record: RequestRecord) -> dict[str, float | None]:
    """Tell the seconds that a request has spent in each stage; those of the first sequence, where it has several."""
    queued, started, ended = record.queued, record.started, record.finished
    ready, last = record.first_token, record.last_token
    if record.sampling is None and started is not None and record.outcome == "completed":
        # It pools: all that it is told is there at once.
        ready = last = ended
    return {
        "gen_ai.latency.time_in_queue": _between(queued, started),
        "gen_ai.latency.time_to_first_token": _between(record.began, ready),
        "gen_ai.latency.e2e": _between(record.began, ended if last is None else last),
        "gen_ai.latency.time_in_model_prefill": _between(started, ready),
        "gen_ai.latency.time_in_model_decode": _between(ready, last),
        "gen_ai.latency.time_in_model_inference": _between(started, last),
    }


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else max(0.0, end - begin)


def _limit(record: RequestRecord, asked: int | None, max_model_len: int) -> int | None:
    """Find the most tokens of a choice, as vLLM's engine is told them; None where each prompt has its own."""
    room = max_model_len - record.prompt_tokens if record.prompts == 1 and record.prompt_tokens else None
    limits = [limit for limit in (asked, room) if limit is not None]
    return _whole(min(limits)) or None if limits else None


def _whole(number: int) -> int:
    return max(-_MOST, min(number, _MOST))


def _text(text: str) -> str | None:
    """Leave out what is empty, and what is no text: half of a character, which clients can write in JSON."""
    return text.encode("utf-8", "replace").decode() or None


def events_of(record: RequestRecord) -> Iterator[tuple[str, int, Mapping[str, str]]]:
    """List what happened to a request.

    :return: name, nanoseconds since the epoch and attributes of each.
    """
    for name, time in (("queued", record.queued), ("prefill", record.started), ("first_token", record.first_token)):
        if time is not None:
            yield name, nanoseconds(record, time), {}
    error, time = error_of(record), record.finished
    if time is not None:
        name = _ENDS.get(record.outcome or "") or ("error" if error else "finished")
        yield name, nanoseconds(record, time), {"error.type": error} if error else {}


def error_of(record: RequestRecord) -> str | None:
    """Name what went wrong: the type of the error that the client was told, or else what kept it from an answer.

    :return: the status where the error has no type; None for a request that was answered, also if an operator has
        ended it, or an answer came late on purpose.
    """
    if record.error_type is not None:
        return _text(record.error_type) or (str(record.http.status) if record.http is not None else "error")
    if record.outcome == "disconnected":
        return "cancelled"
    if record.outcome == "unfinished" or (record.outcome == "injected" and _is_cut(record)):
        return record.outcome
    return None


def _is_cut(record: RequestRecord) -> bool:
    """Tell whether a request was broken off, or not answered at all."""
    unanswered = record.http is not None and not record.http.status
    return unanswered or any(reason is None for _, reason in record.choices.values())
