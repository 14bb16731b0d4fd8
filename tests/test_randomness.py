"""Seeded randomness."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.randomness import Randomness, derive, fresh_seed


class DeriveTests(SynchronousTestCase):
    """Generators by purpose."""

    def test_names(self) -> None:
        """Equal seeds and names give equal generators, on any machine; others give others."""
        draws = [derive(1, "answer", 2).random(), derive(1, "answer", 2).random()]
        self.assertEqual(1, len(set(draws)))
        self.assertAlmostEqual(0.2469, draws[0], places=4)
        others = {derive(*names).random() for names in ((1, "answer", 3), (2, "answer", 2), (1, "answer2"), (1,))}
        self.assertEqual(4, len(others - set(draws)))

    def test_any_text(self) -> None:
        """Names may be any text, half a surrogate pair too."""
        derive(1, "\ud800")

    def test_fresh(self) -> None:
        """Fresh seeds differ."""
        self.assertNotEqual(fresh_seed(), fresh_seed())


class RandomnessTests(SynchronousTestCase):
    """All randomness of a rank."""

    def test_same(self) -> None:
        """What is made is what would be derived from the seed."""
        randomness = Randomness(5)
        self.assertEqual(derive(5, "a", 1).random(), randomness.generator("a", 1).random())
        self.assertEqual(derive(5, "b").getrandbits(63), randomness.number("b"))

    def test_again(self) -> None:
        """It can begin again: generators that are in use draw what they would have drawn at first."""
        randomness, fed = Randomness(5), list[int]()
        randomness.feed(fed.append, "b")
        generator = randomness.generator("a")
        first = [generator.random() for _ in range(3)]
        for seed in (5, 6, 5):
            randomness.begin(seed)
            self.assertEqual(seed == 5, first == [generator.random() for _ in range(3)])
            self.assertEqual((seed, derive(seed, "b").getrandbits(63)), (randomness.seed, fed[-1]))
            self.assertEqual(fed[-1], randomness.number("b"))
