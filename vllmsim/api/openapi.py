# -*- test-case-name: tests.api.test_openapi -*-
"""Writes the OpenAPI 3.1 document of a server from what its routes say of themselves.

Bodies are described by the pydantic models that check them, answers by the types in :mod:`vllmsim.api.shapes`. The
document says no more than JSON Schema can: a server takes a number in quotes for a number, and ignores members that it
does not know. The schema of server-sent events is that of each event, as an object of its fields.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from vllmsim.api.description import EVENTS, JSON, Description, Operation, Response
from vllmsim.api.shapes.errors import ErrorBody, RouterError
from vllmsim.errors import InferenceError, Unauthorized

_REFERENCE: Final = "#/components/schemas/{model}"
_KEY: Final = {"administrator": {"type": "http", "scheme": "bearer"}}

Schema = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Writes schemas for readers: without titles, which repeat the names of members."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Give no member a title."""
        return False

    def tagged_union_schema(self, schema: Any) -> Schema:
        """Describe a union whose kinds are told apart by code as any of them: their schemas may overlap."""
        written = super().tagged_union_schema(schema)
        if "discriminator" in written:
            return written
        return {"anyOf" if name == "oneOf" else name: each for name, each in written.items()}


def openapi_document(
    title: str, version: str, model: str, operations: Iterable[Operation], root_path: str = ""
) -> bytes:
    """Write the document.

    :param model: what examples name where they name a model.
    :param root_path: the path under which a proxy shows the server.
    """
    listed = list(operations)
    schemas, components = _schemas(listed)
    paths: dict[str, Schema] = {}
    for each in listed:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas.__getitem__, model)
    tags = dict.fromkeys(each.description.tag for each in listed)
    keys = {"securitySchemes": _KEY} if any(each.guarded for each in listed) else {}
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version},
            **({"servers": [{"url": root_path}]} if root_path else {}),
            "paths": paths,
            "components": {"schemas": components, **keys},
            "tags": [{"name": tag} for tag in tags],
        }
    )


def _schemas(operations: Sequence[Operation]) -> tuple[dict[Any, Schema], Schema]:
    """Make the schema of every type that is described.

    :return: the schemas by type, and those that they refer to by name.
    """
    shapes = dict.fromkeys([ErrorBody, RouterError, *(shape for each in operations for shape in _shapes(each))])
    found, rest = TypeAdapter.json_schemas(
        [(shape, "validation", TypeAdapter(shape)) for shape in shapes],
        ref_template=_REFERENCE,
        schema_generator=_Untitled,
    )
    return {shape: schema for (shape, _), schema in found.items()}, rest.get("$defs", {})


def _shapes(operation: Operation) -> list[Any]:
    d = operation.description
    shapes = [d.body, *(response.shape for response in d.responses), *d.error_shapes]
    return [shape for shape in shapes if shape is not None]


def _operation(operation: Operation, schema_of: Callable[[Any], Schema], model: str) -> Schema:
    d = operation.description
    written: Schema = {
        "tags": [d.tag],
        "summary": operation.summary,
        "operationId": re.sub(r"\W", "_", f"{operation.name}{operation.path}_{operation.method.lower()}"),
    }
    if parameters := [*_path_parameters(operation.path), *_query_parameters(d)]:
        written["parameters"] = parameters
    if d.body is not None:
        content: Schema = {"schema": schema_of(d.body)}
        if d.example is not None:
            content["example"] = {**d.example, **({"model": model} if "model" in d.example else {})}
        written["requestBody"] = {"required": not d.optional, "content": {JSON: content}}
    if operation.guarded:
        written["security"] = [{name: []} for name in _KEY]
    written["responses"] = _responses(operation, schema_of)
    return written


def _path_parameters(path: str) -> list[Schema]:
    names = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(description: Description) -> list[Schema]:
    if description.query is None:
        return []
    # A schema of its own, and not one by reference: parameters are listed one by one.
    schema = TypeAdapter(description.query).json_schema(schema_generator=_Untitled)
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(member)}
        for name, member in schema["properties"].items()
    ]


def _without_null(schema: Schema) -> Schema:
    """Take away the null that a query string cannot say."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    rest = {name: each for name, each in schema.items() if name != "anyOf" and (name, each) != ("default", None)}
    return rest | (_any_of(kinds) if kinds else {})


def _responses(operation: Operation, schema_of: Callable[[Any], Schema]) -> Schema:
    """Describe each status, with its bodies by media type."""
    d = operation.description
    responses = list(d.responses)
    meanings: dict[int, list[str]] = {}
    for error in (*d.errors, *((Unauthorized,) if operation.guarded else ())):
        responses += [Response(shape, status=error.status) for shape in d.error_shapes or (ErrorBody,)]
        meanings.setdefault(error.status, []).append(_first_line(error))
    if "{" in operation.path:
        responses.append(Response(RouterError, status=HTTPStatus.NOT_FOUND))
    statuses = sorted({response.status for response in responses})
    written: Schema = {}
    for status in statuses:
        here = [response for response in responses if response.status == status]
        meaning = " ".join(dict.fromkeys(meanings.get(status, ()))) or HTTPStatus(status).phrase
        content = {
            media: {"schema": _media([each for each in here if each.media == media], media, schema_of)}
            for media in dict.fromkeys(each.media for each in here if each.shape is not None or each.media != JSON)
        }
        written[str(status)] = {"description": meaning, **({"content": content} if content else {})}
    return written


def _media(responses: Sequence[Response], media: str, schema_of: Callable[[Any], Schema]) -> Schema:
    shapes = dict.fromkeys(each.shape for each in responses if each.shape is not None)
    schema = _any_of([schema_of(shape) for shape in shapes])
    if media == JSON:
        return schema
    if media == EVENTS:
        data = {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
        endings = [{"const": each.ending} for each in responses if each.ending is not None]
        fields = {"event": {"type": "string"}, "data": _any_of([*endings, data])}
        return {"type": "object", "properties": fields, "required": ["data"]}
    return {"type": "string"} if media.startswith("text/") else {}


def _any_of(schemas: Sequence[Schema]) -> Schema:
    return {"anyOf": list(schemas)} if len(schemas) > 1 else next(iter(schemas), {})


def _first_line(error: type[InferenceError]) -> str:
    return (error.__doc__ or "").partition("\n")[0]
