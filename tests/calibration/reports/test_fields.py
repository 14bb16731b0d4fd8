"""Values of strangers."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.calibration.reports.fields import count, mapping, number, numbers, sequence


class FieldTests(SynchronousTestCase):
    """What is of another kind is as if it were not there."""

    def test_number(self) -> None:
        """A number is finite, and no yes or no."""
        self.assertEqual([1.0, 2.5], [number(1), number(2.5)])
        wrong = (float("nan"), float("inf"), 10**400, True, "1", None)
        self.assertEqual([None] * 6, [number(each) for each in wrong])

    def test_count(self) -> None:
        """A count is whole and not negative, however it is written."""
        self.assertEqual([3, 4, 0], [count(3), count(4.0), count(0)])
        self.assertEqual([None] * 3, [count(each) for each in (-1, 1.5, "3")])

    def test_containers(self) -> None:
        """Maps and lists are that; a list with anything but numbers has none."""
        self.assertEqual(({"a": 1}, {}), (mapping({"a": 1}), mapping([1])))
        self.assertEqual(([1], ()), (sequence([1]), sequence({"a": 1})))
        self.assertEqual(([1.0, 2.0], []), (numbers([1, 2]), numbers([1, None])))
