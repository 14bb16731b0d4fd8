# -*- test-case-name: tests.test_randomness -*-
"""Seeded randomness, derived per purpose so that one draw never shifts another.

A daemon has one seed. Everything random takes a generator of its own, derived from that seed and a name: the
answer to the first request is then the same whatever other requests did at the same time.
"""

import hashlib
import random
import secrets
from collections.abc import Callable
from typing import Final

from attrs import define, field

_WORDS: Final = 8
_BITS: Final = 63


def fresh_seed() -> int:
    """Draw a seed for a daemon that was given none.

    :return: an integer from 0 to 2**63 - 1, from the operating system's randomness.
    """
    return secrets.randbits(_BITS)


def derive(seed: int, *names: object) -> random.Random:
    """Make the generator for one purpose.

    :param seed: the daemon's seed, or a request's own.
    :param names: what the generator is for, such as ``"answer", 7, 0``; equal names give equal generators.
    :return: a generator that depends on the seed and the names alone, also across processes and machines.
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_WORDS).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - simulation, not secrets


def clamped_normal(generator: random.Random, mean: float, deviation: float) -> float:
    """Draw a latency with jitter.

    :param generator: where the draw comes from.
    :param mean: seconds, at least 0.
    :param deviation: standard deviation in seconds; with 0 the mean is returned and nothing is drawn.
    :return: seconds, from 0.3 to 1.7 times the mean (the bounds of llm-d-inference-sim).
    """
    if not deviation:
        return mean
    return min(max(generator.gauss(mean, deviation), 0.3 * mean), 1.7 * mean)


@define(eq=False)
class Randomness:
    """Everything random of one rank, so that it can begin again, from the same seed or from another.

    What :func:`derive` makes stays as it is; what is made here is as if the rank had just been made with the new seed.

    :param seed: the daemon's.
    """

    seed: int
    _kept: list[Callable[[int], object]] = field(init=False, factory=list)
    _renewed: dict[tuple[object, ...], random.Random] = field(init=False, factory=dict)

    def generator(self, *names: object) -> random.Random:
        """Make a generator for one purpose; see :func:`derive`."""
        made = derive(self.seed, *names)
        self._kept.append(lambda seed: made.setstate(derive(seed, *names).getstate()))
        return made

    def renewed(self, *names: object) -> random.Random:
        """Make a generator for a purpose that may come again: the one that was made for it before begins anew."""
        made = self._renewed.get(names)
        if made is None:
            made = self._renewed[names] = self.generator(*names)
        made.setstate(derive(self.seed, *names).getstate())
        return made

    def number(self, *names: object) -> int:
        """Make a seed for who derives generators from it; see :meth:`feed`."""
        return derive(self.seed, *names).getrandbits(_BITS)

    def feed(self, take: Callable[[int], object], *names: object) -> None:
        """Have someone learn of a new :meth:`number` when everything begins again."""
        self._kept.append(lambda seed: take(derive(seed, *names).getrandbits(_BITS)))

    def begin(self, seed: int) -> None:
        """Begin again.

        :param seed: the one that takes the place of the daemon's.
        """
        self.seed = seed
        for renew in self._kept:
            renew(seed)
