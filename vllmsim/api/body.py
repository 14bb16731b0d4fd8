# -*- test-case-name: tests.api.test_body -*-
"""Reads request bodies and query strings, and says what is wrong with them as vLLM 0.33 does.

vLLM's bodies are pydantic models behind FastAPI. Its answer to a bad one is status 400 with a message of one line per
error, each a Python dict of `type`, `loc`, `msg`, `input` and sometimes `ctx`; containers in `input` are shown by
their size alone, and at most ten errors are listed.
"""

import json
import re
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import orjson
from attrs import evolve, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vllmsim.api.extent import USUAL, Extent
from vllmsim.errors import MalformedRequest

M = TypeVar("M", bound=BaseModel)


class Body(BaseModel):
    """What a body or a part of one must be. Members that are not known are ignored.

    Its validator is made when the first request needs it: all of them would double the time that a start takes.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=(), defer_build=True)


T = TypeVar("T")
Listed = Annotated[list[T], Field(fail_fast=True)]
"""A list of which only the first wrong item is reported: there may be a million, and to tell of each takes a minute.

Not for a member that has a default and may not be null: pydantic 2.10 gives that default to all others of this type.
"""

_MOST_ERRORS: Final = 10
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HUGE: Final = re.compile(rb"\d{19}")
_UNREADABLE: Final = "There was an error parsing the body"


@frozen
class Head:
    """What a dialect needs of the head of an exchange.

    :param content_type: the Content-Type header.
    :param request_id: the X-Request-Id header.
    :param data_parallel_rank: the X-data-parallel-rank header.
    :param send_image: whether the X-Send-Image header asks for an image.
    :param cache_threshold: the X-Cache-Threshold-Finish-Reason header.
    :param priority: the X-Vllm-Priority header.
    :param model: the model that a gRPC call is for, as its metadata name it.
    :param extent: how large the body may be in other ways than bytes.
    """

    content_type: str | None = None
    request_id: str | None = None
    data_parallel_rank: str | None = None
    send_image: bool = False
    cache_threshold: str | None = None
    priority: str | None = None
    model: str | None = None
    extent: Extent = USUAL


def read_object(body: bytes, head: Head) -> dict[str, Any]:
    """Read a JSON object.

    :raises MalformedRequest: when the content type is not JSON, or the body is no JSON object or beyond its limits.
    """
    kind = (head.content_type or "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise MalformedRequest("1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed")
    try:
        value = orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        value = _read_leniently(body)
    if value is None:
        raise _malformed([_error("missing", ("body",), "Field required", None)])
    if not isinstance(value, dict):
        text = "Input should be a valid dictionary or object to extract fields from"
        raise _malformed([_error("model_attributes_type", ("body",), text, value)])
    head.extent.check(value, body)
    return value


def read_untyped(body: bytes, head: Head) -> dict[str, Any]:
    """Read a JSON object, whatever content type is said.

    :raises MalformedRequest: when the body is none, or beyond its limits.
    """
    return read_object(body, evolve(head, content_type="application/json"))


def _read_leniently(body: bytes) -> Any:
    """Read what the strict parser refuses and Python's does not: NaN, huge integers, lone surrogates."""
    try:
        return _without_surrogates(json.loads(body))
    except json.JSONDecodeError as error:
        entry = _error("json_invalid", ("body", error.pos), "JSON decode error", {}, {"error": error.msg})
        raise _malformed([entry]) from None
    except (ValueError, RecursionError):
        raise MalformedRequest(_UNREADABLE) from None


def _without_surrogates(value: Any) -> Any:
    """Replace code points that no UTF-8 text can have."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    return value


def validate(model: type[M], data: Mapping[str, Any], body: bytes) -> M:
    """Check an object against a model.

    :param data: what :func:`read_object` made of the body.
    :raises MalformedRequest: naming each field that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    if _HUGE.search(body):
        # The strict parser has made floats of integers above 64 bits; the message must show them as they are.
        try:
            exact = json.loads(body)
            return model.model_validate(exact)
        except ValidationError as error:
            errors, data = error.errors(include_url=False), exact
        except (ValueError, RecursionError):
            pass
    raise _malformed([_entry(each, data) for each in errors[:_MOST_ERRORS]], len(errors))


def read_query(model: type[M], arguments: Mapping[str, Sequence[str]], lists: Container[str] = ()) -> M:
    """Check a query string.

    :param arguments: by name, the values in their order, at least one.
    :param lists: names of which all values count; of others the last does. Unknown names are ignored.
    :raises MalformedRequest: naming each argument that is wrong.
    """
    given = {name: list(values) if name in lists else values[-1] for name, values in arguments.items()}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    entries = [
        _error(each["type"], ("query", *each["loc"]), each["msg"], each["input"], each.get("ctx")) for each in errors
    ]
    raise _malformed(entries[:_MOST_ERRORS], len(entries))


def _entry(error: Any, data: Any) -> dict[str, Any]:
    location = ("body", *_path(error["loc"], data, missing=error["type"] == "missing"))
    return _error(error["type"], location, error["msg"], error["input"], error.get("ctx"))


def _path(location: tuple[int | str, ...], data: Any, *, missing: bool) -> list[int | str]:
    """Drop from a location what names a branch of a union, not a member of the body.

    :param missing: whether the last step is a member that should be there.
    """
    path: list[int | str] = []
    for position, step in enumerate(location):
        if isinstance(step, int) and isinstance(data, list):
            data = data[step]
        elif isinstance(data, Mapping) and (step in data or (missing and position == len(location) - 1)):
            data = data.get(step)
        else:
            continue
        path.append(step)
    return path


def _error(kind: str, location: tuple[int | str, ...], text: str, value: Any, context: Any = None) -> dict[str, Any]:
    entry = {"type": kind, "loc": ".".join(map(str, location)), "msg": text, "input": _show(value)}
    return entry | ({"ctx": context} if context else {})


def _show(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"<{type(value).__name__} of {len(value)} items>"
    return str(value)


def _malformed(errors: list[dict[str, Any]], count: int = 1) -> MalformedRequest:
    """Write the first errors.

    :param count: how many there are.
    """
    heading = f"{count} validation error{'' if count == 1 else 's'}:"
    return MalformedRequest("\n".join([heading, *(f"  {error}" for error in errors)]), str(errors[0]["loc"]))
