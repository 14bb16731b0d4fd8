"""Which model and which devices options mean."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError, read_yaml
from vllmsim.config.schema import Configuration
from vllmsim.config.steptimes import DEVICE_PRESET, DEVICE_SHAPE, MODEL_PRESET, MODEL_SHAPE, device_of, model_of
from vllmsim.presets.devices import DEVICES
from vllmsim.presets.models import MODELS
from vllmsim.shapes import DeviceShape, ModelShape

OWN = '{"layers":9,"hidden-size":64,"heads":4,"kv-heads":2,"head-size":16,"parameters":0.5}'


def configuration(words: str) -> Configuration:
    """Read a command line."""
    return load_words(words.split(), {}).configuration


class PresetTests(SynchronousTestCase):
    """Names of presets."""

    def test_names(self) -> None:
        """A preset is found by its name, in any case, and nothing means none."""
        for kind, name in ((MODEL_PRESET, "Qwen3-30B-A3B"), (DEVICE_PRESET, "H100-SXM")):
            self.assertEqual(name.lower(), kind.from_text(name))
            self.assertEqual("", kind.from_text(""))

    def test_unknown(self) -> None:
        """A name that is none is an error with those that are like it."""
        for words, text in (
            (
                "--model-preset llama-8b",
                "--model-preset (command line): 'llama-8b' will not do: it must be the name of",
            ),
            ("--model-preset llama-8b", "step-time.rst lists them), or empty; did you mean llama-3.1-8b or "),
            ("--device-preset h100", "did you mean h100-sxm or h100-pcie or h100-nvl?"),
            (
                "--device-preset zzz",
                "the name of a preset (step-time.rst lists them), or empty; there are a10, l4, ",
            ),
        ):
            error = self.assertRaises(ConfigurationError, configuration, words)
            self.assertIn(text, str(error))


class ShapeTests(SynchronousTestCase):
    """Models and devices of one's own."""

    def test_preset(self) -> None:
        """A preset is whole, and some of it may be otherwise."""
        c = configuration('--model-preset phi-4 --model-shape {"weight-bytes":1,"math":"fp8"} --device-preset l4')
        model = model_of(c)
        self.assertEqual((1.0, "fp8", 40), (model.weight_bytes, model.math, model.layers))
        self.assertEqual(DEVICES["l4"].shape, device_of(c))

    def test_served(self) -> None:
        """Without a preset it is that of the model that is served."""
        c = configuration("Qwen/Qwen3-8B --step-time roofline")
        self.assertEqual(MODELS["qwen3-8b"].shape, model_of(c))

    def test_own(self) -> None:
        """A model may be all one's own, and a device too."""
        device = '{"tflops":10,"bandwidth":100,"link":1}'
        c = configuration(f"--model m --model-shape {OWN} --device-preset= --device-shape {device}")
        own = ModelShape(layers=9, hidden_size=64, heads=4, kv_heads=2, head_size=16, parameters=0.5)
        self.assertEqual(own, model_of(c))
        self.assertEqual(DeviceShape(tflops=10.0, bandwidth=100.0, link=1.0), device_of(c))

    def test_numbers(self) -> None:
        """Numbers may be written as YAML does not know them, and members with lines below."""
        self.assertEqual({"tflops": 1000.0}, DEVICE_SHAPE.from_value({"tflops": "1e3"}))
        self.assertEqual({"hidden_size": 64}, MODEL_SHAPE.from_value({"hidden_size": 64}))
        values, problems = read_yaml("device-shape:\n  tflops: 2e2\n", "sim.yaml")
        self.assertEqual(([], {"tflops": 200.0}), (problems, values["device-shape"][0]))

    def test_written(self) -> None:
        """A shape is written as it is read."""
        read = MODEL_SHAPE.from_text(OWN)
        self.assertEqual(read, MODEL_SHAPE.from_value(MODEL_SHAPE.to_value(read)))

    def test_wrong_members(self) -> None:
        """Members that are wrong are named with the option, all of them."""
        cases: list[tuple[str, tuple[str, ...]]] = [
            ('{"layers":0}', ("model-shape.layers", "must be an integer from 1 to")),
            ('{"layers":1.5,"heads":true}', ("model-shape.layers", "model-shape.heads")),
            ('{"parameters":0}', ("model-shape.parameters", "must be a number from 0.001 to")),
            ('{"parameters":"many"}', ("model-shape.parameters", "must be a number from 0.001 to")),
            ('{"parameters":"nan"}', ("model-shape.parameters", "must be a number")),
            ('{"math":"int3"}', ("model-shape.math", "must be bf16 or fp8")),
            ('{"math":[]}', ("model-shape.math", "must be bf16 or fp8")),
            ('{"depth":1}', ("model-shape.depth", "is none of layers, hidden-size, heads")),
            ("[]", ("--model-shape", "a map of numbers that a model has")),
        ]
        for text, expected in cases:
            error = self.assertRaises(ConfigurationError, configuration, f"--model-preset phi-4 --model-shape {text}")
            for each in expected:
                self.assertIn(each, str(error))


class RuleTests(SynchronousTestCase):
    """What must be there together."""

    def test_wrong(self) -> None:
        """What is missing, or does not go together, is said with the option that has it."""
        cases: dict[str, Any] = {
            "--model m --step-time roofline": "model-preset (default): roofline needs a model-preset, or a model-shape",
            '--model m --model-shape {"layers":3}': "model-shape needs hidden-size, heads, kv-heads, head-size, param",
            "--model-preset phi-4 --device-preset=": "device-preset (--device-preset): roofline needs a device-preset",
            '--model-preset phi-4 --device-preset= --device-shape {"tflops":1}': "device-shape needs bandwidth, link",
            '--model-preset phi-4 --model-shape {"experts-per-token":3}': "is more than experts, which is 1",
            "--step-time profile": "step-profile (default): is needed for step-time profile",
        }
        for words, text in cases.items():
            error = self.assertRaises(ConfigurationError, configuration, words)
            self.assertIn(text, str(error))

    def test_unused(self) -> None:
        """Nobody asks for a model where steps take a time that has nothing to do with one."""
        configuration("--model m --step-time linear --device-preset=")

    def test_no_time(self) -> None:
        """Whoever has steps and says nothing of their time is told that they take none."""
        [told] = load_words(["--scheduling-model", "step"], {}).doubts
        self.assertIn("steps take no time", told)
        for words in ("--step-time-constant 1ms", "--model-preset llama-3.1-8b", "--scheduling-model per-request"):
            self.assertEqual([], load_words(["--scheduling-model", "step", *words.split()], {}).doubts)
