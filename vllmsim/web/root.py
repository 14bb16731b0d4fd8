# -*- test-case-name: tests.web.test_root -*-
"""The root of a rank's URL tree: finds the route, and answers where there is none as vLLM's server does."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeAlias

import orjson
from attrs import Factory, frozen
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from werkzeug.routing import Rule

from vllmsim.api.description import Operation
from vllmsim.web.described import dialect_of, is_remembered, operation, works
from vllmsim.web.guarding import Guard, PageGuard
from vllmsim.web.request import NO_ROUTE, Dialect, Request

_LAST_SLASH: Final = re.compile(rb"(?:/|%2f)\Z", re.IGNORECASE)
Endpoint: TypeAlias = Callable[..., Any]


@frozen
class _Route:
    """One path, or a template that stands for many.

    :param template: the path, with ``{name}`` in the place of a segment that varies.
    :param methods: who answers each method.
    :param remembered: methods with which requests come that the journal remembers.
    :param inference: methods for which a model computes something.
    :param dialects: whose clients each method is for.
    """

    template: str
    methods: dict[bytes, Endpoint] = Factory(dict)
    remembered: set[bytes] = Factory(set)
    inference: set[bytes] = Factory(set)
    dialects: dict[bytes, Dialect] = Factory(dict)

    def match(self, path: bytes) -> dict[str, str] | None:
        """Find what varies in a path that is made after this template: it must be text, and one segment alone.

        :return: name and text of the segment; None if the path is not made so.
        """
        before, _, rest = self.template.encode().partition(b"{")
        name, _, after = rest.partition(b"}")
        if not (path.startswith(before) and path.endswith(after)):
            return None
        try:
            segment = path[len(before) : len(path) - len(after)].decode("utf-8")
        except UnicodeDecodeError:
            return None
        return {name.decode(): segment} if segment and "/" not in segment else None


class RankResource(Resource):
    """Joins the route modules' apps into one tree.

    An unknown path is 404, a known one with another method is 405, and a known one with a slash behind it is
    redirected: all in JSON, and none in the shape of API errors, as FastAPI has it. Exact paths come before templates.

    :param apps: Klein apps whose paths are exact or have one segment ``<name>``; no path and method may be in two of
        them.
    """

    isLeaf = True

    def __init__(self, apps: Iterable[Klein]) -> None:
        super().__init__()
        self._exact: dict[bytes, _Route] = {}
        self._templates: dict[bytes, _Route] = {}
        self._endpoints: dict[tuple[str, str], tuple[Callable[..., Any], bool]] = {}
        for app in apps:
            self.add(app)

    def add(self, app: Klein, pages: PageGuard | None = None, guard: Guard | None = None) -> None:
        """Add the routes of an app.

        :param pages: looks at each request first.
        :param guard: looks at it then.
        """
        for rule in app.url_map.iter_rules():
            template = rule.rule.replace("<", "{").replace(">", "}")
            routes = self._templates if rule.arguments else self._exact
            route = routes.setdefault(template.encode(), _Route(template))
            for method in _methods(rule):
                endpoint = partial(app.execute_endpoint, rule.endpoint)
                for each in (guard, pages):
                    endpoint = endpoint if each is None else partial(_guarded, each, endpoint)
                route.methods[method.encode()] = endpoint
                self._endpoints[template, method] = app.endpoints[rule.endpoint], guard is not None
                route.dialects[method.encode()] = dialect_of(app.endpoints[rule.endpoint])
                if works(app.endpoints[rule.endpoint]):
                    route.inference.add(method.encode())
                if is_remembered(app.endpoints[rule.endpoint]):
                    route.remembered.add(method.encode())

    def paths(self) -> list[tuple[str, list[str]]]:
        """List every path and template, and its methods."""
        routes = [*self._exact.values(), *self._templates.values()]
        return sorted((route.template, sorted(m.decode() for m in route.methods)) for route in routes)

    def working(self) -> frozenset[str]:
        """List the paths and templates where the model works."""
        return frozenset(path for (path, _), (endpoint, _) in self._endpoints.items() if works(endpoint))

    def operations(self) -> list[Operation]:
        """List every method of every path as its route describes it, in the order of the routes.

        :raises LookupError: when one is not described.
        """
        return [
            operation(path, method, endpoint, guarded=guarded)
            for (path, method), (endpoint, guarded) in self._endpoints.items()
        ]

    def locate(self, request: Request) -> None:
        """Find the route of a request, and settle how it is told of errors and whether the journal remembers it."""
        request.place = route, _ = self._find(request.path)
        if route is None:
            meant = self._find(request.path[:-1])[0] if request.path.endswith(b"/") else None
            if meant is not None:
                request.route = f"{meant.template}/"
            # What is sent to administrators may be secret, wherever they are.
            stray = meant is None and not request.path.startswith(b"/admin/")
            request.worth_a_record = request.method == b"POST" and (
                stray or (meant is not None and bool(meant.remembered))
            )
            return
        request.route = route.template
        request.worth_a_record = request.method in route.remembered
        request.inference = request.method in route.inference
        request.dialect = route.dialects.get(request.method, "openai")

    def render(self, request: Request) -> Deferred[None] | None:
        """Pass a request to its route.

        :return: what the route returns; whoever calls finishes the request then.
        """
        route, varying = request.place
        if request.worth_a_record:
            request.begin_record()
        if route is None:
            self._answer_unknown(request)
            return None
        endpoint = route.methods.get(request.method)
        if endpoint is None:
            request.setHeader(b"Allow", b", ".join(sorted(route.methods)))
            _answer(request, 405, {"detail": "Method Not Allowed"})
            return None
        answering: Deferred[None] | None = endpoint(request, **varying)
        return answering

    def _find(self, path: bytes) -> tuple[_Route | None, dict[str, str]]:
        """Find the route of a path, and what varies in that."""
        if (exact := self._exact.get(path)) is not None:
            return exact, {}
        matches = ((route, route.match(path)) for route in self._templates.values())
        return next(((route, varying) for route, varying in matches if varying is not None), (None, {}))

    @staticmethod
    def _answer_unknown(request: Request) -> None:
        if request.route == NO_ROUTE:
            _answer(request, 404, {"detail": "Not Found"})
            return
        scheme = b"https" if request.isSecure() else b"http"
        host = request.getHeader(b"host")
        path, *query = request.target.partition(b"?")
        location = (scheme + b"://" + host if host else b"") + _LAST_SLASH.sub(b"", path) + b"".join(query)
        request.setHeader(b"Location", location)
        request.answer(307, b"", None)


def _guarded(guard: Guard | PageGuard, endpoint: Endpoint, request: Request, **varying: str) -> Any:
    guard.check(request)
    return endpoint(request, **varying)


def _methods(rule: Rule) -> list[str]:
    """List a rule's methods. HEAD, which werkzeug adds to GET and FastAPI does not, needs a rule of its own."""
    methods = rule.methods or set()
    return sorted(methods - {"HEAD"} if "GET" in methods else methods)


def _answer(request: Request, status: int, value: dict[str, str]) -> None:
    request.answer(status, orjson.dumps(value))
