"""How routes describe themselves."""

from typing import ClassVar

from attrs import define
from klein import Klein
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import RankTestCase
from tests.test_docs import EVERYTHING
from vllmsim.api.description import Description, Operation, Response
from vllmsim.web.described import described
from vllmsim.web.request import Request
from vllmsim.web.root import RankResource


@define(slots=False, eq=False)
class Described:
    """A route with two paths and a description."""

    app: ClassVar[Klein] = Klein()

    @app.route("/a", methods=["GET"])
    @app.route("/b/<name>", methods=["POST"], endpoint="other")
    @described("Tag", Response())
    def route(self, request: Request, name: str = "") -> None:
        """Say a sentence.

        And more that is for us.
        """
        request.answer(200, name.encode())


@define(slots=False, eq=False)
class Undescribed:
    """A route that says nothing of itself."""

    app: ClassVar[Klein] = Klein()

    @app.route("/c", methods=["GET"])
    def route(self, request: Request) -> None:
        """Say a sentence."""
        request.answer(200, b"")


class RankDescribedTests(RankTestCase):
    """What the routes of a rank say of themselves."""

    def test_complete(self) -> None:
        """Every route has a sentence, a group and answers, and an example where a body is needed."""
        self.make_rank(*EVERYTHING)
        for each in self.rank.resource.operations():
            d = each.description
            self.assertTrue(each.summary.endswith("."), each)
            self.assertTrue(d.tag and (d.responses or d.errors), each)
            refuses = 501 in {error.status for error in d.errors}
            if d.body is not None and not d.optional and not refuses:
                self.assertIsNotNone(d.example, each)


class DescribedTests(SynchronousTestCase):
    """Routes to operations."""

    def test_operations(self) -> None:
        """Each path of a route is an operation, with the description beside it and its docstring's first line."""
        description = Description("Tag", (Response(),))
        expected = {
            Operation("/a", "GET", "route", "Say a sentence.", description),
            Operation("/b/{name}", "POST", "route", "Say a sentence.", description),
        }
        self.assertEqual(expected, set(RankResource([Described().app]).operations()))

    def test_undescribed(self) -> None:
        """A route that does not describe itself is named."""
        with self.assertRaises(LookupError) as caught:
            RankResource([Described().app, Undescribed().app]).operations()
        self.assertEqual("GET /c is not described", str(caught.exception))
