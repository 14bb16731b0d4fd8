# -*- test-case-name: tests.metrics.test_transfer -*-
"""Transfers of KV blocks from other servers, in numbers: the families of vLLM with a NIXL connector.

Bytes are those of whole blocks, as NIXL transfers nothing less, and each block counts as one descriptor; in vLLM it is
one for each layer's part of a block. To post a transfer takes no time here, and none fails.
"""

from typing import Final

from attrs import define, field

from vllmsim.inference import Prefill
from vllmsim.metrics import series
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Counter, Gauge, Histogram

_STAGES: Final = ("waiting_to_start", "in_progress", "completed_waiting")


@define(eq=False)
class TransferMetrics:
    """Counts transfers.

    :param block_size: tokens per block.
    :param token_bytes: how much a block has of each.
    :param fetches: whether the server is one that takes blocks from others, so that those that wait are shown.
    :param nixl: whether it does so by NIXL.
    """

    _block_size: int = 16
    _token_bytes: int = 1
    _fetches: bool = False
    _nixl: bool = False
    _fetching: Gauge = field(init=False, factory=Gauge)
    _seconds: Histogram = field(init=False, factory=lambda: Histogram(series.TRANSFER_BUCKETS))
    _posting: Histogram = field(init=False, factory=lambda: Histogram((0.001, *series.TRANSFER_BUCKETS)))
    _bytes: Histogram = field(init=False, factory=lambda: Histogram(series.TRANSFER_BYTES_BUCKETS))
    _descriptors: Histogram = field(init=False, factory=lambda: Histogram(series.DESCRIPTOR_BUCKETS))

    def show_stages(self, f: Families) -> None:
        """Show how many sequences wait for blocks, if the server takes any."""
        if self._fetches:
            gauges = {stage: Gauge() for stage in _STAGES} | {"in_progress": self._fetching}
            text = "Sequences whose KV blocks are fetched from another server, by how far that is."
            f.show_by("stage", "vllm:num_requests_kv_fetch_by_stage", text, gauges)

    def show_transfers(self, f: Families) -> None:
        """Show how transfers were, if they are NIXL's."""
        if not self._nixl:
            return
        f.show("vllm:nixl_xfer_time_seconds", "Seconds that each transfer of KV blocks took.", self._seconds)
        f.show("vllm:nixl_post_time_seconds", "Seconds that it took to begin each.", self._posting)
        f.show("vllm:nixl_bytes_transferred", "Bytes of each transfer.", self._bytes)
        f.show("vllm:nixl_num_descriptors", "Descriptors of each transfer: its blocks.", self._descriptors)
        for name, text in (
            ("num_failed_transfers", "Transfers that failed."),
            ("num_failed_notifications", "Notifications of transfers that failed."),
            ("num_kv_expired_reqs", "Requests whose KV blocks were not fetched in time."),
            ("num_notifications_after_expiry", "Notifications of transfers that came too late."),
        ):
            f.show(f"vllm:nixl_{name}", text, Counter())

    def started(self) -> None:
        """Count a sequence that waits for blocks."""
        self._fetching.value += 1

    def finished(self, prefill: Prefill, seconds: float) -> None:
        """Count it no more, and observe the transfer."""
        self._fetching.value -= 1
        blocks = self._blocks(prefill)
        self._seconds.observe(seconds)
        self._posting.observe(0.0)
        self._bytes.observe(blocks * self._block_size * self._token_bytes)
        self._descriptors.observe(blocks)

    def aborted(self) -> None:
        """Count it no more."""
        self._fetching.value -= 1

    def _blocks(self, prefill: Prefill) -> int:
        """Count the blocks that were fetched; the prompt's last token, which is computed again, is in one of them."""
        there = prefill.found + (prefill.computed == 1)
        return -(-there // self._block_size) - prefill.cached // self._block_size
