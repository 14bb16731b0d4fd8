# -*- test-case-name: tests.scheduling.test_loads -*-
"""What a rank has done and has to do, in the figures by which gateways spread requests over servers."""

from attrs import frozen


@frozen
class Progress:
    """What a rank has done since it was made.

    :param generated: tokens that it has generated.
    :param prompts: prompts whose first token is out.
    :param read: how many tokens these have.
    :param found: how many of those tokens were not computed here.
    """

    generated: float = 0
    prompts: int = 0
    read: float = 0
    found: float = 0


@frozen
class LoadFigures:
    """How much a data-parallel rank has to do, and how fast it does it.

    :param rank: its number.
    :param running: sequences that run.
    :param waiting: sequences that wait for a slot, or for KV blocks.
    :param most_running: how many may run at the same time.
    :param cache_usage: the share of KV blocks that sequences have, from 0 to 1.
    :param cache_tokens: how many tokens the KV cache holds; 0 where none is simulated.
    :param uncached_tokens: prompt tokens of those that wait which it is likely to compute.
    :param throughput: generated tokens per second, of the latest two seconds.
    :param hit_rate: the share of the latest prompts' tokens that were not computed, from 0 to 1.
    :param silence: seconds since anything was generated; None if nothing was since somebody first asked.
    """

    rank: int
    running: int = 0
    waiting: int = 0
    most_running: int = 0
    cache_usage: float = 0.0
    cache_tokens: int = 0
    uncached_tokens: int = 0
    throughput: float = 0.0
    hit_rate: float = 0.0
    silence: float | None = None

    @property
    def used_tokens(self) -> int:
        """How many tokens the blocks hold that sequences have."""
        return round(self.cache_usage * self.cache_tokens)
