"""How long steps take on devices, and what others have measured there."""

import random
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.commandline import load_words
from vllmsim.interfaces import IStepTime
from vllmsim.presets.devices import DEVICES
from vllmsim.presets.models import MODELS
from vllmsim.shapes import DeviceShape, ModelShape
from vllmsim.steps import StepWork
from vllmsim.steptime.choice import make_step_time
from vllmsim.steptime.roofline import RooflineStepTime

NIGHTLY = "https://buildkite.com/vllm/performance-benchmark/builds/9515"
NIM = "https://docs.nvidia.com/nim/benchmarking/llm/1.0.0/performance"
FP8 = '--model-shape {"weight-bytes":1,"math":"fp8"}'

PUBLISHED = (
    (
        "--model-preset llama-3.1-8b --device-preset h100-sxm", StepWork(decodes=1, read=200), 0.00648,
        "time per token, vLLM 0.21, one request: https://yobitelcomm.github.io/bench/recipes/concurrency-sweep/",
    ),
    (
        "--model-preset llama-3.1-8b --device-preset a100-40gb", StepWork(decodes=1, read=1088), 1 / 75,
        "tokens a second, vLLM 0.23, one request: https://johnmusgrave.com/p/vllm-throughput-latency-sweep-on",
    ),
    (
        "--model-preset llama-3.1-8b --device-preset h200", StepWork(decodes=8, read=8 * 96), 0.833421 / 128,
        f"128 tokens of 8 prompts: {NIGHTLY}",
    ),
    (
        "--model-preset llama-3.1-70b --device-preset h200 -tp 4", StepWork(decodes=8, read=8 * 96), 2.07753 / 128,
        f"128 tokens of 8 prompts: {NIGHTLY}",
    ),
    (
        "--model-preset mixtral-8x7b --device-preset h200 -tp 2", StepWork(decodes=8, read=8 * 96), 1.91744 / 128,
        f"128 tokens of 8 prompts: {NIGHTLY}",
    ),
    (
        f"--model-preset llama-3.1-70b --device-preset h100-sxm -tp 2 {FP8}", StepWork(decodes=1, read=5250), 0.01858,
        f"inter-token latency behind 5000 tokens: {NIM}",
    ),
    (
        f"--model-preset llama-3.1-70b --device-preset h100-sxm -tp 2 {FP8}",
        StepWork(prefill_tokens=5000, pairs=5000 * 5001 // 2), 0.40677,
        f"time to first token of 5000 tokens: {NIM}",
    ),
)  # fmt: skip
"""What others have measured: the command line that should come to it, a step, its seconds, and where they say so."""
NEAR = 1.5
"""How many times more or less a roofline may say."""
LINKED = 300.0
"""Gigabytes a second of a link that is more than a bus."""


def seconds(words: str, work: StepWork) -> float:
    """Work out a step's time as a server with a command line does."""
    return make_step_time(load_words(words.split(), {}).configuration).seconds(work, random.Random(1))


class PublishedTests(SynchronousTestCase):
    """What a user gets with a preset."""

    def test_measured(self) -> None:
        """With presets alone, steps take about what others have measured on such devices."""
        for words, work, measured, source in PUBLISHED:
            said = seconds(words, work)
            self.assertTrue(measured / NEAR < said < measured * NEAR, f"{words}: {said} for {measured}: {source}")

    def test_two_lines(self) -> None:
        """A model and a device are all that it takes; the device is an H100 if nobody says."""
        usual = seconds("--model-preset llama-3.1-8b --device-preset h100-sxm", StepWork(decodes=1))
        self.assertEqual(usual, seconds("--model-preset llama-3.1-8b", StepWork(decodes=1)))
        served = "meta-llama/Llama-3.1-8B-Instruct --step-time roofline"
        self.assertEqual(usual, seconds(served, StepWork(decodes=1)))


TOY = ModelShape(layers=10, hidden_size=100, heads=8, kv_heads=2, head_size=16, parameters=2.0)
DEVICE = DeviceShape(tflops=100.0, bandwidth=1000.0, link=50.0)
IDEAL: dict[str, Any] = {"flops_efficiency": 1.0, "bandwidth_efficiency": 1.0, "overhead": 0.0, "exchange": 0.0}


def ideal(work: StepWork, model: ModelShape = TOY, device: DeviceShape = DEVICE, **facts: Any) -> float:
    """Work out the time of a step where nothing is lost."""
    made = RooflineStepTime.of(model, device, **(IDEAL | facts))
    assert verifyObject(IStepTime, made)
    return made.seconds(work, random.Random(1))


class RooflineTests(SynchronousTestCase):
    """The parts of a step's time, on a device of round numbers."""

    def test_weights(self) -> None:
        """A small step takes the time to read the weights, and a large one that to multiply with them."""
        self.assertAlmostEqual(0.004, ideal(StepWork(decodes=1)))
        self.assertAlmostEqual(0.004, ideal(StepWork(decodes=99)))
        # From 100 tokens on there is more to compute than to read: 4e9 operations for each.
        self.assertAlmostEqual(0.08, ideal(StepWork(prefill_tokens=2000)))
        self.assertAlmostEqual(0.08, ideal(StepWork(prefill_tokens=1000, decodes=400, draft_tokens=600)))

    def test_attention(self) -> None:
        """What is read of the KV cache takes time, and so do many pairs of tokens; the longer of both counts."""
        read = 1_000_000 * 10 * 2 * 2 * 16 * 2 / 1e12
        self.assertAlmostEqual(0.004 + read, ideal(StepWork(decodes=1, read=1_000_000, pairs=1_000_001)))
        pairs = 10**9 * 4 * 8 * 16 * 10 / 1e14
        self.assertAlmostEqual(0.004 + pairs, ideal(StepWork(decodes=1, read=1_000_000, pairs=10**9)))
        self.assertAlmostEqual(0.004 + read / 2, ideal(StepWork(decodes=1, read=1_000_000), kv_bytes=1.0))

    def test_some_layers(self) -> None:
        """Layers with a window, or with a latent cache, read less."""
        work = StepWork(decodes=1, read=1_000_000)
        whole, half = (ideal(work, evolve(TOY, full_attention_layers=n)) for n in (10, 5))
        self.assertAlmostEqual(whole - 0.004, 2 * (half - 0.004))
        self.assertAlmostEqual(whole - 0.004, 4 * (ideal(work, evolve(TOY, latent_size=16)) - 0.004))

    def test_devices(self) -> None:
        """Devices divide a model, and exchange what they have computed; keys and values only as far as heads go."""
        self.assertApproximates(0.002, ideal(StepWork(decodes=1), devices=2), 1e-6)
        sent = 2 * 10 * 100 * 2 * 2 * 3 / 4 / 50e9
        many = StepWork(prefill_tokens=10_000)
        self.assertAlmostEqual(0.1 + 10_000 * sent, ideal(many, devices=4))
        self.assertAlmostEqual(20 * 1e-3, ideal(many, devices=4, exchange=1e-3) - ideal(many, devices=4))
        self.assertEqual(ideal(many), ideal(many, exchange=1e-3))
        read = StepWork(decodes=1, read=10**7)
        gone = [ideal(read, devices=n) - ideal(evolve(read, read=0), devices=n) for n in (1, 2, 8)]
        self.assertAlmostEqual(gone[0] / 2, gone[1])
        self.assertAlmostEqual(gone[1], gone[2])

    def test_efficiency(self) -> None:
        """What is lost makes steps longer: operations, bandwidth, and time that each step takes."""
        self.assertAlmostEqual(0.008, ideal(StepWork(decodes=1), bandwidth_efficiency=0.5))
        self.assertAlmostEqual(0.16, ideal(StepWork(prefill_tokens=2000), flops_efficiency=0.5))
        self.assertAlmostEqual(0.005, ideal(StepWork(decodes=1), overhead=0.001))

    def test_experts(self) -> None:
        """A token reads its experts, many tokens all of them, and each is multiplied with its own alone."""
        sparse = evolve(TOY, parameters=9.0, active_parameters=2.0, experts=8, experts_per_token=1)
        self.assertAlmostEqual(8.0, sparse.expert_parameters)
        self.assertAlmostEqual(0.004, ideal(StepWork(decodes=1), sparse))
        self.assertAlmostEqual(0.002 + 0.016 * (1 - (7 / 8) ** 2), ideal(StepWork(decodes=2), sparse))
        self.assertApproximates(0.018, ideal(StepWork(decodes=200), sparse), 1e-6)
        self.assertAlmostEqual(0.08, ideal(StepWork(prefill_tokens=2000), sparse))
        small = evolve(sparse, expert_bytes=0.5)
        self.assertApproximates(0.002 + 0.004, ideal(StepWork(decodes=100), small), 1e-6)

    def test_fp8(self) -> None:
        """Weights that are multiplied in FP8 take less time, where the device has that."""
        fast = evolve(DEVICE, fp8_tflops=200.0)
        small = evolve(TOY, math="fp8", weight_bytes=1.0)
        for device, expected in ((fast, 0.04), (DEVICE, 0.08)):
            self.assertAlmostEqual(expected, ideal(StepWork(prefill_tokens=2000), small, device))
        self.assertAlmostEqual(0.08, ideal(StepWork(prefill_tokens=2000), TOY, fast))

    def test_more_is_longer(self) -> None:
        """Whatever the preset, more work never takes less time, and devices with good links are faster together."""
        steps = [StepWork(0, 1, 0, 500, 501), StepWork(0, 64, 0, 64_000, 64_064), StepWork(512, 64, 0, 64_000, 200_000)]
        long = StepWork(prefill_tokens=8192, pairs=8192 * 8193 // 2)
        for name, model in MODELS.items():
            for other, device in DEVICES.items():
                times = [ideal(work, model.shape, device.shape) for work in steps]
                self.assertEqual(sorted(times), times, f"{name} on {other}")
                self.assertTrue(0 < times[0] < times[-1], f"{name} on {other}: {times}")
                if device.shape.link >= LINKED:
                    together = ideal(long, model.shape, device.shape, devices=8)
                    self.assertLess(together, ideal(long, model.shape, device.shape), f"{name} on {other}")
