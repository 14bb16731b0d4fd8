# -*- test-case-name: tests.web.test_documentation -*-
"""The routes that explain the others: ``/openapi.json``, and pages for people that show it.

The pages are one file with everything that they need in it, so that they work without a network. They may run their own
script, use their own style and call their own server, and nothing else.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import ClassVar, Final

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred

from vllmsim.api.description import HTML, Response
from vllmsim.web.described import described
from vllmsim.web.request import Request

_PAGE_TYPE: Final = b"text/html; charset=utf-8"
_NO_SIGN_IN: Final = (
    b"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>Sign-in</title>"
    b"<p>Nobody signs in here with OAuth 2. <a href='../docs'>To the documentation</a></p></html>"
)


@cache
def page() -> tuple[bytes, bytes]:
    """Read the page.

    :return: it, and the policy that lets it do what it must.
    """
    text = files("vllmsim.web").joinpath("docs.html").read_bytes()
    sources = {name: _digest(text, name) for name in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy.encode()


def _digest(text: bytes, element: str) -> str:
    """Name the content of an element as policies do."""
    content = re.findall(rb"<%b>(.*?)</%b>" % (element.encode(), element.encode()), text, re.DOTALL)[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


@define(slots=False, eq=False)
class DocumentationRoutes:
    """Explains the routes of a server.

    :param document: finds the OpenAPI document, which may take a moment the first time.
    """

    app: ClassVar[Klein] = Klein()

    _document: Callable[[], Deferred[bytes]]

    @app.route("/openapi.json", methods=["GET"])
    @app.route("/openapi.json", methods=["HEAD"], endpoint="openapi_head")
    @described("Documentation", Response(dict))
    async def openapi(self, request: Request) -> None:
        """Answer with this document; it is written when it is first asked for."""
        request.answer(200, await self._document())

    @app.route("/docs", methods=["GET"])
    @app.route("/docs", methods=["HEAD"], endpoint="docs_head")
    @described("Documentation", Response(media=HTML))
    def docs(self, request: Request) -> None:
        """Answer with a page on which every route can be tried."""
        _show(request)

    @app.route("/redoc", methods=["GET"])
    @app.route("/redoc", methods=["HEAD"], endpoint="redoc_head")
    @described("Documentation", Response(media=HTML))
    def redoc(self, request: Request) -> None:
        """Answer with a page on which every route can be read about."""
        _show(request)

    @app.route("/docs/oauth2-redirect", methods=["GET"])
    @app.route("/docs/oauth2-redirect", methods=["HEAD"], endpoint="sign_in_head")
    @described("Documentation", Response(media=HTML))
    def sign_in(self, request: Request) -> None:
        """Answer where an OAuth 2 sign-in would end, which no route asks for."""
        request.answer(200, _NO_SIGN_IN, _PAGE_TYPE)


def _show(request: Request) -> None:
    text, policy = page()
    request.setHeader(b"Content-Security-Policy", policy)
    request.answer(200, text, _PAGE_TYPE)
