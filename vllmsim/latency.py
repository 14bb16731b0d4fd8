# -*- test-case-name: tests.test_latency -*-
"""How long the simulated model takes: the three latency calculators of llm-d-inference-sim.

With P prompt tokens of which C are cached, a load factor f, and N(mean, deviation) a normal draw kept within 0.3 and
1.7 times its mean:

=============  ================================================  ===============================
calculator     time to first token                               the same after a remote prefill
=============  ================================================  ===============================
``constant``   N(ttft f, its deviation)                          N(transfer latency, its deviation)
``per-token``  N((overhead + (P - C) per token) f, deviation)    N(P per-token transfer, its deviation)
(empty)        ``constant`` if that is set, else ``per-token``   likewise
=============  ================================================  ===============================

A gap between tokens is N(inter-token latency f, its deviation). The factor grows evenly from 1, with one sequence
running, to `time-factor-under-load`, with all slots busy. Nothing is rounded.
"""

import random

from attrs import frozen
from zope.interface import implementer

from vllmsim.config.schema import Configuration
from vllmsim.interfaces import ILatencyModel
from vllmsim.randomness import clamped_normal


@implementer(ILatencyModel)
@frozen(eq=False)
class LatencyModel:
    """Draws latencies as the configuration says."""

    _configuration: Configuration

    @property
    def instant(self) -> bool:
        """Whether tokens follow each other without any gap."""
        return not self._configuration.inter_token_latency

    def time_to_first_token(
        self, prompt_tokens: int, cached_tokens: int, remote: bool, running: int, generator: random.Random
    ) -> float:
        """Draw the prefill's duration."""
        c = self._configuration
        constant = c.kv_cache_transfer_latency if remote else c.time_to_first_token
        if c.latency_calculator == "constant" or (not c.latency_calculator and constant):
            deviation = c.kv_cache_transfer_latency_std_dev if remote else c.time_to_first_token_std_dev
            mean = constant
        elif remote:
            mean, deviation = prompt_tokens * c.kv_cache_transfer_time_per_token, c.kv_cache_transfer_time_std_dev
        else:
            mean = c.prefill_overhead + (prompt_tokens - cached_tokens) * c.prefill_time_per_token
            deviation = c.prefill_time_std_dev
        return clamped_normal(generator, mean if remote else mean * self._load(running), deviation)

    def inter_token_latency(self, running: int, generator: random.Random) -> float:
        """Draw the gap before the next token."""
        c = self._configuration
        mean, deviation = c.inter_token_latency, c.inter_token_latency_std_dev
        # This is asked for every token.
        if c.time_factor_under_load != 1.0:
            mean *= self._load(running)
        return clamped_normal(generator, mean, deviation) if deviation else mean

    def image_latency(self, generator: random.Random) -> float:
        """Draw the time that an image takes after the text."""
        c = self._configuration
        return clamped_normal(generator, c.time_to_generate_image, c.time_to_generate_image_std_dev)

    def _load(self, running: int) -> float:
        c = self._configuration
        if c.max_num_seqs <= 1:
            return 1.0
        return 1.0 + (c.time_factor_under_load - 1.0) * (running - 1) / (c.max_num_seqs - 1)
