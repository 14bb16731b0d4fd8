"""Which names are served."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.errors import UnknownModel
from vllmsim.interfaces import IModelCatalogue
from vllmsim.models import ModelCatalogue


class ModelCatalogueTests(SynchronousTestCase):
    """Aliases of one model."""

    def setUp(self) -> None:
        """Serve a model under two names."""
        self.catalogue = ModelCatalogue("/models/m1", ("m1", "m2"))

    def test_provides(self) -> None:
        """It is a model catalogue."""
        verifyObject(IModelCatalogue, self.catalogue)

    def test_resolve(self) -> None:
        """Any name, and none, means the first one; another is an error that names them all."""
        self.assertEqual(["m1"] * 3, [self.catalogue.resolve(name) for name in ("m1", "m2", None)])
        error = self.assertRaises(UnknownModel, self.catalogue.resolve, "zzz")
        self.assertEqual("The model `zzz` does not exist. Valid aliases: m1, m2.", error.message)
        self.assertEqual(("model", 404), (error.param, error.status))

    def test_cards(self) -> None:
        """Each name is listed with the model's path."""
        self.assertEqual([("m1", "/models/m1", None), ("m2", "/models/m1", None)], self.catalogue.cards())
