"""How scenarios come over HTTP."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.scenarios import is_json
from vllmsim.errors import MalformedRequest


class ContentTypeTests(SynchronousTestCase):
    """YAML, or JSON."""

    def test_json(self) -> None:
        """It is JSON where its type says so."""
        for kind in ("application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"):
            self.assertTrue(is_json(kind), kind)

    def test_yaml(self) -> None:
        """It is YAML where its type says so, or says nothing, or what clients say that are not told."""
        for kind in (
            None,
            "",
            "application/yaml",
            "text/x-yaml; charset=utf-8",
            "application/vnd.x+yaml",
            "text/plain",
            "application/x-www-form-urlencoded",
        ):
            self.assertFalse(is_json(kind), kind)

    def test_other(self) -> None:
        """Other types are refused."""
        for kind in ("image/png", "multipart/form-data", "text/html"):
            self.assertRaises(MalformedRequest, is_json, kind)
