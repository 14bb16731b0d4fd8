"""Plain values, made of what YAML says."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.plain import PlainValues
from vllmsim.config.plainyaml import PlainLoader


class PlainTests(SynchronousTestCase):
    """What may be in them, and how much."""

    def test_copied(self) -> None:
        """What JSON has is copied, names become texts, and halves of surrogate pairs question marks."""
        self.assertEqual(
            {"1": [True, None, 0.5, "?"], "?": {}},
            PlainValues(9, 99).copy({1: [True, None, 0.5, "\ud800"], "\udfff": {}}),
        )

    def test_bounds(self) -> None:
        """Values, their texts and their levels are counted over all that is copied."""
        plain = PlainValues(4, 5)
        plain.copy(["abc", "d"])
        self.assertRaises(ValueError, plain.copy, "ef")
        plain = PlainValues(4, 5)
        plain.copy([1, 2])
        self.assertRaises(ValueError, plain.copy, [3])
        deep: object = 1
        for _ in range(201):
            deep = [deep]
        error = self.assertRaises(ValueError, PlainValues(999, 999).copy, deep)
        self.assertEqual("it is nested too deeply", str(error))
        error = self.assertRaises(ValueError, PlainValues(9, 9).copy, 1 << 4096)
        self.assertEqual("it has an integer of 4097 bits, and at most 4096 are allowed", str(error))

    def test_nodes(self) -> None:
        """No more nodes are made than there may be values, as each takes much more memory than its text."""
        loader = PlainLoader("[a, b, c]", 3)
        error = self.assertRaises(ValueError, loader.get_single_node)
        self.assertEqual("it has more than 3 values", str(error))
