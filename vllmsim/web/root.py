# -*- test-case-name: tests.web.test_root -*-
"""The root of a rank's URL tree: finds the route, and answers where there is none as vLLM's server does."""

from collections.abc import Iterable

import orjson
from klein import Klein
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from vllmsim.web.site import Request


class RankResource(Resource):
    """Joins the route modules' apps into one tree.

    An unknown path is 404, a known one with another method is 405, and a known one with a slash behind it is
    redirected: all in JSON, and none in the shape of API errors, as FastAPI has it.

    :param apps: Klein apps with exact paths; no path and method may be in two of them.
    """

    isLeaf = True

    def __init__(self, apps: Iterable[Klein]) -> None:
        super().__init__()
        self._routes: dict[bytes, dict[bytes, Resource]] = {}
        for app in apps:
            resource = app.resource()
            for rule in app.url_map.iter_rules():
                methods = self._routes.setdefault(rule.rule.encode(), {})
                for method in (rule.methods or set()) - {"HEAD"}:
                    methods[method.encode()] = resource

    def paths(self) -> list[tuple[str, list[str]]]:
        """List every path and its methods."""
        return sorted((path.decode(), sorted(m.decode() for m in methods)) for path, methods in self._routes.items())

    def render(self, request: Request) -> int:
        """Pass a request to its route."""
        path = request.path
        methods = self._routes.get(path)
        if methods is None:
            return self._answer_unknown(path, request)
        request.route = path.decode()
        resource = methods.get(request.method)
        if resource is None:
            request.setHeader(b"Allow", b", ".join(sorted(methods)))
            return _answer(request, 405, {"detail": "Method Not Allowed"})
        resource.render(request)
        return NOT_DONE_YET

    def _answer_unknown(self, path: bytes, request: Request) -> int:
        if path.endswith(b"/") and path[:-1] in self._routes:
            request.route = path.decode()
            scheme = b"https" if request.isSecure() else b"http"
            host = request.getHeader(b"host")
            query = request.uri.partition(b"?")[1:]
            location = (scheme + b"://" + host if host else b"") + path[:-1] + b"".join(query)
            request.setHeader(b"Location", location)
            request.answer(307, b"")
            request.finish()
            return NOT_DONE_YET
        return _answer(request, 404, {"detail": "Not Found"})


def _answer(request: Request, status: int, value: dict[str, str]) -> int:
    request.answer(status, orjson.dumps(value))
    request.finish()
    return NOT_DONE_YET
