"""Transfers of KV blocks in numbers."""

from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.reading import read
from vllmsim.inference import Prefill
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.transfer import TransferMetrics


class TransferMetricsTests(SynchronousTestCase):
    """What is counted, and what is shown of it."""

    def show(self, metrics: TransferMetrics) -> str:
        """Write everything that is shown."""
        self.families = Families({"engine": "0"})
        metrics.show_stages(self.families)
        metrics.show_transfers(self.families)
        return self.families.write()

    def value(self, name: str, **labels: str) -> float:
        """Read one sample."""
        return read(self.families)[f"vllm:{name}", frozenset({"engine": "0", **labels}.items())]

    def test_hidden(self) -> None:
        """A server that takes no blocks from others shows nothing, and counts all the same."""
        metrics = TransferMetrics()
        metrics.started()
        metrics.finished(Prefill(33, external=32), 0.1)
        self.assertEqual("", self.show(metrics))

    def test_transfers(self) -> None:
        """Each transfer is observed with its time, its whole blocks and their bytes."""
        metrics = TransferMetrics(16, 1000, nixl=True)
        self.show(metrics)
        for prefill, blocks in (
            (Prefill(33, external=32), 3),
            (Prefill(33, cached=16, external=16), 2),
            (Prefill(32, external=31), 2),
            (Prefill(100, external=40), 3),
            (Prefill(100, cached=32, external=32), 2),
        ):
            before = self.value("nixl_num_descriptors_sum"), self.value("nixl_bytes_transferred_sum")
            metrics.started()
            metrics.finished(prefill, 0.25)
            after = self.value("nixl_num_descriptors_sum"), self.value("nixl_bytes_transferred_sum")
            self.assertEqual((blocks, blocks * 16000), (after[0] - before[0], after[1] - before[1]), prefill)
        self.assertEqual((5, 1.25), (self.value("nixl_xfer_time_seconds_count"),
                                     self.value("nixl_xfer_time_seconds_sum")))  # fmt: skip
        self.assertEqual((0, 5), (self.value("nixl_xfer_time_seconds_bucket", le="0.2"),
                                  self.value("nixl_xfer_time_seconds_bucket", le="0.3")))  # fmt: skip
        self.assertEqual((5, 0), (self.value("nixl_post_time_seconds_bucket", le="0.001"),
                                  self.value("nixl_num_failed_transfers_total")))  # fmt: skip

    def test_stages(self) -> None:
        """A server that takes blocks shows how many sequences wait for some."""
        metrics = TransferMetrics(fetches=True)
        self.show(metrics)
        stage = "num_requests_kv_fetch_by_stage"
        metrics.started()
        metrics.started()
        metrics.started()
        metrics.aborted()
        metrics.finished(Prefill(2, external=1), 0.1)
        self.assertEqual((0, 1, 0), tuple(
            self.value(stage, stage=each) for each in ("waiting_to_start", "in_progress", "completed_waiting")
        ))  # fmt: skip

    def test_buckets(self) -> None:
        """Buckets are vLLM's."""
        text = self.show(TransferMetrics(nixl=True))
        for name, bounds in (
            ("nixl_xfer_time_seconds", ("0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.2", "0.3", "0.5", "0.75",
                                        "1.0", "5.0", "+Inf")),
            ("nixl_bytes_transferred", ("2048.0", "8192.0", "8.589934592e+09", "+Inf")),
            ("nixl_num_descriptors", ("10.0", "20.0", "30.0", "50.0", "75.0", "100.0", "200.0", "400.0", "1000.0",
                                      "2000.0", "4000.0", "10000.0", "20000.0", "50000.0", "+Inf")),
        ):  # fmt: skip
            for bound in bounds:
                self.assertIn(f'vllm:{name}_bucket{{engine="0",le="{bound}"}}', text)
        self.assertEqual(13, text.count("vllm:nixl_xfer_time_seconds_bucket"))
        self.assertEqual(15, text.count("vllm:nixl_num_descriptors_bucket"))
        self.assertEqual(13, text.count("vllm:nixl_bytes_transferred_bucket"))
