"""What the process takes."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.metrics.process import ProcessMetrics


def values(text: str) -> dict[str, float]:
    """Read the samples."""
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


class ProcessTests(SynchronousTestCase):
    """Beside prometheus_client's own collector."""

    def test_same(self) -> None:
        """Names, texts, types and order are prometheus_client's, and so are values; it counts a file of its own."""
        registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        theirs, ours = generate_latest(registry).decode(), ProcessMetrics().write()
        comments = [[line for line in text.splitlines() if line.startswith("#")] for text in (theirs, ours)]
        self.assertEqual(*comments)
        for name, expected in values(theirs).items():
            own = int(name == "process_open_fds")
            self.assertApproximates(1, values(ours)[name] / (expected - own), 0.1, name)
        chosen = ProcessMetrics().write({"process_max_fds"})
        self.assertEqual(["process_max_fds"], list(values(chosen)))

    def test_open_files(self) -> None:
        """Open files are counted, and nothing else is."""
        before = values(ProcessMetrics().write())["process_open_fds"]
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
        self.assertEqual(before + 5, values(ProcessMetrics().write())["process_open_fds"])
        for each in opened:
            os.close(each)

    def test_older_linux(self) -> None:
        """A Linux that does not say how many files are open lists them; a program may have any name."""
        with TemporaryDirectory() as folder:
            proc = Path(folder)
            (proc / "stat").write_text("cpu 1 2\nbtime 1700000000\n")
            (proc / "self").mkdir()
            (proc / "self" / "stat").write_text("7 (a ) b) S " + " ".join(str(n) for n in range(100, 150)))
            # A folder of as many files that never had a size.
            (proc / "self" / "fd").symlink_to("/proc/self/fdinfo")
            seen = values(ProcessMetrics(proc).write())
        self.assertEqual(1700000000 + 118 / os.sysconf("SC_CLK_TCK"), seen["process_start_time_seconds"])
        self.assertEqual(119, seen["process_virtual_memory_bytes"])
        self.assertApproximates(values(ProcessMetrics().write())["process_open_fds"], seen["process_open_fds"], 1)

    def test_sandbox(self) -> None:
        """Where processes are to be seen and nothing else, everything is told all the same."""
        with TemporaryDirectory() as folder:
            Path(folder, "self").symlink_to("/proc/self")
            seen = values(ProcessMetrics(Path(folder)).write())
        expected = values(ProcessMetrics().write())
        self.assertEqual(list(expected), list(seen))
        self.assertApproximates(expected["process_start_time_seconds"], seen["process_start_time_seconds"], 2)

    def test_elsewhere(self) -> None:
        """Where nothing can be read nothing is told."""
        with TemporaryDirectory() as folder:
            self.assertEqual("", ProcessMetrics(Path(folder)).write())
            Path(folder, "stat").write_text("btime 1700000000\n")
            self.assertEqual("", ProcessMetrics(Path(folder)).write())
