"""What models are like."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.shapes import ModelShape

DENSE = ModelShape(layers=10, hidden_size=100, heads=8, kv_heads=2, head_size=16, parameters=2.0)
SPARSE = evolve(DENSE, parameters=9.0, active_parameters=2.0, experts=8, experts_per_token=1)


class ShapeTests(SynchronousTestCase):
    """What follows from their numbers."""

    def test_experts(self) -> None:
        """What a token does not use says how many parameters the experts have together."""
        self.assertEqual(0.0, DENSE.expert_parameters)
        self.assertAlmostEqual(8.0, SPARSE.expert_parameters)
        self.assertEqual(0.0, evolve(SPARSE, active_parameters=0.0).expert_parameters)

    def test_fault(self) -> None:
        """Numbers that do not go together are named."""
        self.assertIsNone(DENSE.fault())
        self.assertIsNone(SPARSE.fault())
        for shape, fault in (
            (evolve(DENSE, experts_per_token=2), "experts-per-token, 2, is more than experts, which is 1"),
            (evolve(DENSE, active_parameters=2.5), "active-parameters, 2.5, is more than parameters, 2"),
            (evolve(DENSE, full_attention_layers=11), "full-attention-layers, 11, is more than layers, which is 10"),
            (evolve(SPARSE, active_parameters=1.0), "fewer parameters are active than experts-per-token say"),
        ):
            self.assertEqual(fault, shape.fault())
