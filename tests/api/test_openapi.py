"""The OpenAPI document."""

import json
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, Discriminator, Field, Tag
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import TypedDict

from vllmsim.api.description import ASKING, EVENTS, TEXT, Description, Operation, Response
from vllmsim.api.openapi import openapi_document
from vllmsim.errors import InvalidRequest, MalformedRequest, UnknownModel


class Question(BaseModel):
    """What is asked."""

    text: str
    model: str | None = None
    count: int = Field(1, ge=1)


class Said(TypedDict):
    """What is said."""

    text: str
    more: NotRequired["list[Said]"]


class Piece(TypedDict):
    """A piece of it."""

    text: str


class Filter(TypedDict):
    """What is wanted."""

    level: NotRequired[Literal[0, 1]]
    tags: list[str]
    more: NotRequired[Annotated[int, Field(ge=0)] | None]


class Circle(BaseModel):
    """One kind."""

    size: int


class Square(BaseModel):
    """Another kind."""

    size: int


class Drawing(BaseModel):
    """One of two kinds."""

    shape: Annotated[
        Annotated[Circle, Tag("circle")] | Annotated[Square, Tag("square")],
        Discriminator(lambda value: "square" if "side" in value else "circle"),
    ]


def document(*operations: Operation) -> Any:
    """Write a document."""
    return json.loads(openapi_document("Title", "1.2", "served", operations))


def operation(path: str = "/ask", method: str = "POST", **facts: Any) -> Operation:
    """Make an operation that answers in words."""
    facts.setdefault("responses", (Response(media=TEXT),))
    return Operation(path, method, "ask", "Answer a question.", Description("Talk", **facts))


class OpenApiTests(SynchronousTestCase):
    """Operations to a document."""

    def test_body(self) -> None:
        """A body is described by the model that checks it, under the model's name; an example names a served model."""
        facts: dict[str, Any] = {"body": Question, "example": {"text": "why", "model": "any"}}
        read = document(operation(**facts), operation("/other", **(facts | {"example": {"text": "how"}})))
        content = read["paths"]["/ask"]["post"]["requestBody"]["content"]["application/json"]
        self.assertEqual({"$ref": "#/components/schemas/Question"}, content["schema"])
        self.assertEqual({"text": "why", "model": "served"}, content["example"])
        other = read["paths"]["/other"]["post"]["requestBody"]["content"]["application/json"]
        self.assertEqual({"text": "how"}, other["example"])
        schema = read["components"]["schemas"]["Question"]
        self.assertEqual(["text"], schema["required"])
        self.assertEqual({"type": "integer", "minimum": 1, "default": 1}, schema["properties"]["count"])

    def test_answers(self) -> None:
        """A status has each of its media types, and the data of events its own schema; an empty answer has none."""
        responses = (
            Response(Said),
            Response(Piece, EVENTS, ending="[DONE]"),
            Response(media=TEXT, status=202),
            Response(status=204),
        )
        written = document(operation(responses=responses))["paths"]["/ask"]["post"]["responses"]
        self.assertEqual(["200", "202", "204"], list(written))
        self.assertEqual(
            {
                "application/json": {"schema": {"$ref": "#/components/schemas/Said"}},
                "text/event-stream": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "event": {"type": "string"},
                            "data": {
                                "anyOf": [
                                    {"const": "[DONE]"},
                                    {
                                        "type": "string",
                                        "contentMediaType": "application/json",
                                        "contentSchema": {"$ref": "#/components/schemas/Piece"},
                                    },
                                ]
                            },
                        },
                        "required": ["data"],
                    },
                },
            },
            written["200"]["content"],
        )
        self.assertEqual({"text/plain": {"schema": {"type": "string"}}}, written["202"]["content"])
        self.assertEqual({"description": "No Content"}, written["204"])

    def test_errors(self) -> None:
        """Errors are gathered by status, with what they mean; a status with several bodies has any of them."""
        responses = (Response(Said), Response(Said, status=404))
        written = document(operation(responses=responses, errors=ASKING))["paths"]["/ask"]["post"]["responses"]
        self.assertEqual(["200", "400", "404", "413"], list(written))
        meanings = [(error.__doc__ or "").partition("\n")[0] for error in (MalformedRequest, InvalidRequest)]
        self.assertEqual(" ".join(meanings), written["400"]["description"])
        error = {"$ref": "#/components/schemas/ErrorBody"}
        self.assertEqual(error, written["400"]["content"]["application/json"]["schema"])
        self.assertEqual(
            {"anyOf": [{"$ref": "#/components/schemas/Said"}, error]},
            written["404"]["content"]["application/json"]["schema"],
        )

    def test_error_shapes(self) -> None:
        """A route whose errors have shapes of their own says so."""
        facts: dict[str, Any] = {"errors": (UnknownModel,), "error_shapes": (Piece, Said)}
        written = document(operation(**facts))["paths"]["/ask"]["post"]["responses"]["404"]
        names = ["Piece", "Said"]
        self.assertEqual(
            {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]},
            written["content"]["application/json"]["schema"],
        )

    def test_parameters(self) -> None:
        """Segments that vary and arguments of the query are parameters; such a path may not be known to the router."""
        written = document(operation("/ask/{name}/now", "DELETE", query=Filter))["paths"]["/ask/{name}/now"]["delete"]
        name, level, tags, _ = written["parameters"]
        self.assertEqual({"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}, name)
        self.assertEqual(("level", "query", False), (level["name"], level["in"], level["required"]))
        self.assertEqual([0, 1], level["schema"]["enum"])
        self.assertEqual((True, "array"), (tags["required"], tags["schema"]["type"]))
        self.assertEqual(
            {"$ref": "#/components/schemas/RouterError"},
            written["responses"]["404"]["content"]["application/json"]["schema"],
        )

    def test_optional(self) -> None:
        """A body that may be missing is not required, and an argument that may be missing is never null."""
        paths = document(operation(body=Question, optional=True, query=Filter), operation("/b", body=Question))["paths"]
        required = [paths[path]["post"]["requestBody"]["required"] for path in ("/ask", "/b")]
        self.assertEqual([False, True], required)
        more = paths["/ask"]["post"]["parameters"][-1]
        self.assertEqual({"type": "integer", "minimum": 0}, more["schema"])

    def test_unions(self) -> None:
        """A body of one of several kinds that only code can tell apart may be any of them."""
        written = document(operation(body=Drawing))["components"]["schemas"]["Drawing"]["properties"]["shape"]
        kinds = [{"$ref": f"#/components/schemas/{name}"} for name in ("Circle", "Square")]
        self.assertEqual({"anyOf": kinds}, written)

    def test_names(self) -> None:
        """Every operation has a name of its own, made of its function, path and method, and its sentence and tag."""
        read = document(operation(), operation("/ask", "GET"), operation("/ask/{name}"))
        names = [each["operationId"] for methods in read["paths"].values() for each in methods.values()]
        self.assertEqual(["ask_ask_post", "ask_ask_get", "ask_ask__name__post"], names)
        written = read["paths"]["/ask"]["get"]
        self.assertEqual(("Answer a question.", ["Talk"]), (written["summary"], written["tags"]))
        self.assertEqual([{"name": "Talk"}], read["tags"])
        self.assertEqual(("3.1.0", {"title": "Title", "version": "1.2"}), (read["openapi"], read["info"]))
