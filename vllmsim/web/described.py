# -*- test-case-name: tests.web.test_described -*-
"""How a route describes itself: :func:`described` stands between ``@app.route`` and the route."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from vllmsim.api.description import GENERATING, Description, Operation, Response
from vllmsim.errors import InferenceError
from vllmsim.web.request import Dialect

_KEY: Final = "__description__"
_DIALECT: Final = "__dialect__"
_REMEMBERED: Final = frozenset({"Generation", "Pooling", "Tokens", "Disaggregated serving"})

F = TypeVar("F", bound=Callable[..., Any])


def described(
    tag: str,
    *responses: Response,
    body: Any = None,
    optional: bool = False,
    query: Any = None,
    errors: tuple[type[InferenceError], ...] = (),
    error_shapes: tuple[Any, ...] = (),
    example: Mapping[str, Any] | None = None,
    dialect: Dialect = "openai",
) -> Callable[[F], F]:
    """Describe a route; see :class:`vllmsim.api.description.Description`. Its docstring's first line is the summary.

    :param dialect: whose clients it is for, who know no other shape of errors.
    """
    description = Description(tag, responses, body, optional, query, errors, error_shapes, example)

    def describe(route: F) -> F:
        vars(route)[_KEY] = description
        vars(route)[_DIALECT] = dialect
        return route

    return describe


def is_remembered(endpoint: Callable[..., Any]) -> bool:
    """Tell whether the journal remembers the requests of a route: those that generate, pool or make tokens.

    :param endpoint: the route, as Klein has it.
    """
    description: Description | None = vars(endpoint).get(_KEY)
    return description is not None and description.body is not None and description.tag in _REMEMBERED


def dialect_of(endpoint: Callable[..., Any]) -> Dialect:
    """Tell whose clients a route is for.

    :param endpoint: the route, as Klein has it.
    """
    dialect: Dialect = vars(endpoint).get(_DIALECT, "openai")
    return dialect


def works(endpoint: Callable[..., Any]) -> bool:
    """Tell whether a route has the model work: it may be refused as only that may.

    :param endpoint: the route, as Klein has it.
    """
    description: Description | None = vars(endpoint).get(_KEY)
    return description is not None and {*GENERATING} <= {*description.errors}


def operation(path: str, method: str, endpoint: Callable[..., Any], *, guarded: bool = False) -> Operation:
    """Make one method of one path of a route.

    :param endpoint: the route, as Klein has it.
    :param guarded: whether it is for those who have the administrator's key.
    :raises LookupError: when it is not described.
    """
    description = vars(endpoint).get(_KEY)
    if description is None or not endpoint.__doc__:
        raise LookupError(f"{method} {path} is not described")
    route = vars(endpoint).get("__original__", endpoint)
    summary = endpoint.__doc__.partition("\n")[0]
    return Operation(path, method, route.__name__, summary, description, guarded)
