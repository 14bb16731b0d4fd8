"""Which names are served."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.errors import InvalidUserInput, UnknownAdapter, UnknownModel
from vllmsim.inference import Adapter
from vllmsim.interfaces import IAdapterRegistry, IModelCatalogue
from vllmsim.models import ModelCatalogue


class ModelCatalogueTests(SynchronousTestCase):
    """Aliases of one model, and adapters of it."""

    def setUp(self) -> None:
        """Serve a model under two names."""
        self.catalogue = ModelCatalogue("/models/m1", ("m1", "m2"))
        self.base = [("m1", "/models/m1", None), ("m2", "/models/m1", None)]

    def test_provides(self) -> None:
        """It is a model catalogue, and a registry of adapters."""
        verifyObject(IModelCatalogue, self.catalogue)
        verifyObject(IAdapterRegistry, self.catalogue)

    def test_resolve(self) -> None:
        """Any name, and none, means the first one; another is an error that names them all."""
        self.assertEqual(["m1"] * 4, [self.catalogue.resolve(name) for name in ("m1", "m2", None, "")])
        error = self.assertRaises(UnknownModel, self.catalogue.resolve, "zzz")
        self.assertEqual("The model `zzz` does not exist. Valid aliases: m1, m2.", error.message)
        self.assertEqual(("model", 404), (error.param, error.status))

    def test_cards(self) -> None:
        """Each name is listed with the model's path."""
        self.assertEqual(self.base, self.catalogue.cards())

    def test_adapters(self) -> None:
        """An adapter is a model of its own, whose parent is the base model."""
        self.catalogue.add("b", "", "m2")
        self.catalogue.load("a", "/p", in_place=False)
        self.assertEqual(["a", "b"], [self.catalogue.resolve(name) for name in ("a", "b")])
        self.assertEqual([*self.base, ("b", "b", "m2"), ("a", "/p", "m1")], self.catalogue.cards())
        self.catalogue.load("b", "/q", in_place=True)
        self.assertEqual([("b", "/q", "m1"), ("a", "/p", "m1")], self.catalogue.cards()[2:])
        self.catalogue.unload("b")
        for find in (self.catalogue.resolve, self.catalogue.use):
            self.assertRaises(UnknownModel, find, "b")
        self.assertEqual((None, None), (self.catalogue.adapter("b"), self.catalogue.use("m2")))
        self.assertEqual(self.catalogue.adapter("a"), self.catalogue.use("a"))
        self.assertRaises(UnknownAdapter, self.catalogue.unload, "b")
        self.assertRaises(UnknownAdapter, self.catalogue.unload, "m1")

    def test_unloaded(self) -> None:
        """It is told of each adapter that is served no more: unloaded, or replaced by one from elsewhere."""
        gone: list[Adapter] = []
        self.catalogue.watch(gone.append)
        self.catalogue.load("a", "/p", in_place=False)
        self.catalogue.load("a", "/p", in_place=True)
        adapter = self.catalogue.adapter("a")
        assert adapter is not None
        self.assertEqual(([], True), (gone, self.catalogue.serves(adapter)))
        self.catalogue.load("a", "/q", in_place=True)
        self.assertFalse(self.catalogue.serves(adapter))
        self.catalogue.unload("a")
        self.assertFalse(self.catalogue.serves(adapter))
        self.assertEqual([("/p", 1), ("/q", 1)], [(each.path, each.number) for each in gone])

    def test_taken(self) -> None:
        """A name that is taken is refused, the base model's in any case."""
        self.catalogue.load("a", "/p", in_place=False)
        self.assertRaises(InvalidUserInput, self.catalogue.load, "a", "/p", in_place=False)
        self.assertRaises(InvalidUserInput, self.catalogue.load, "m2", "/p", in_place=True)

    def test_bounds(self) -> None:
        """Clients cannot register without end."""
        self.assertRaises(InvalidUserInput, self.catalogue.load, "a" * 1025, "/p", in_place=False)
        for number in range(1000):
            self.catalogue.load(str(number), "/p", in_place=False)
        self.assertRaises(InvalidUserInput, self.catalogue.load, "a", "/p", in_place=False)
        self.catalogue.load("7", "/q", in_place=True)
        self.catalogue.unload("8")
        self.catalogue.load("a", "/p", in_place=False)
