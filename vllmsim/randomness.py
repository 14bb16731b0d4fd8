# -*- test-case-name: tests.test_randomness -*-
"""Seeded randomness, derived per purpose so that one draw never shifts another.

A daemon has one seed. Everything random takes a generator of its own, derived from that seed and a name: the
answer to the first request is then the same whatever other requests did at the same time.
"""

import hashlib
import random
import secrets
from typing import Final

_WORDS: Final = 8


def fresh_seed() -> int:
    """Draw a seed for a daemon that was given none.

    :return: an integer from 0 to 2**63 - 1, from the operating system's randomness.
    """
    return secrets.randbits(63)


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
