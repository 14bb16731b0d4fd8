"""LoRA modules in options."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.lora import LoraModule, parse_lora_module, write_lora_module


class LoraModuleTests(SynchronousTestCase):
    """Reading and writing."""

    def test_forms(self) -> None:
        """A module is name=path or a map; members that are not known are ignored."""
        self.assertEqual(LoraModule("a", "/p"), parse_lora_module("a=/p"))
        value = {"name": "a", "path": "/p", "base_model_name": "m", "more": 1}
        self.assertEqual(LoraModule("a", "/p", "m"), parse_lora_module(value))
        self.assertEqual(LoraModule("a"), parse_lora_module({"name": "a"}))

    def test_wrong(self) -> None:
        """Each fault is named."""
        faults = {"x": "neither", "=p": "no name", 7: "neither"}
        for value, fault in faults.items():
            self.assertIn(fault, str(self.assertRaises(ValueError, parse_lora_module, value)))
        self.assertIn(
            "path is not text", str(self.assertRaises(ValueError, parse_lora_module, {"name": "a", "path": 1}))
        )
        self.assertRaises(ValueError, parse_lora_module, {"path": "/p"})

    def test_round_trip(self) -> None:
        """What is written is read back."""
        for module in (LoraModule("a", "/p"), LoraModule("a", "/p", "m")):
            self.assertEqual(module, parse_lora_module(write_lora_module(module)))
