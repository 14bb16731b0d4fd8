"""The list of models."""

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import recorded
from vllmsim.api.models import ModelList
from vllmsim.models import ModelCatalogue


class ModelListTests(SynchronousTestCase):
    """What clients learn about models."""

    def test_recording(self) -> None:
        """The list has vLLM's bytes, ids apart."""
        models = ModelList(ModelCatalogue("/models/m1", ("m1", "m2")), 256, lambda: "0" * 16, lambda: 1795339835)
        expected = re.sub(rb"modelperm-[0-9a-f]{16}", b"modelperm-" + b"0" * 16, recorded("models"))
        self.assertEqual(expected, models.body())
