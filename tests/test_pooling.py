"""The values of pooling."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Cut
from vllmsim.pooling import Pooled, PoolingRequest


class CutTests(SynchronousTestCase):
    """How prompts are shortened."""

    def test_sides(self) -> None:
        """The right cut keeps the beginning, the left one the end."""
        self.assertEqual("ab", Cut(2).apply("abc"))
        self.assertEqual("bc", Cut(2, "left").apply("abc"))

    def test_lengths(self) -> None:
        """What is short enough stays whole, and nothing may be left."""
        for side in ("left", "right"):
            self.assertEqual(["", "abc", "abc"], [Cut(n, side).apply("abc") for n in (0, 3, 9)])


class PooledTests(SynchronousTestCase):
    """What came out."""

    def test_shape(self) -> None:
        """Numbers by token are a table, others a row."""
        self.assertEqual(((3,), 3), (Pooled(9, [[1.0, 2.0, 3.0]]).shape, Pooled(9, [[1.0, 2.0, 3.0]]).numbers))
        table = Pooled(2, [[1.0, 2.0, 3.0]] * 2, by_token=True)
        self.assertEqual(((2, 3), 6), (table.shape, table.numbers))

    def test_by_token(self) -> None:
        """Two tasks keep tokens apart."""
        tasks = ("embed", "classify", "token_embed", "token_classify", "score")
        apart = [task for task in tasks if PoolingRequest(task, ()).by_token]  # type: ignore[arg-type]
        self.assertEqual(["token_embed", "token_classify"], apart)
