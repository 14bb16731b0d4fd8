"""LoRA adapters on a real daemon, as the example asks for them."""

import re
import subprocess
import sys

from tests.integration.daemon import PATIENCE, ROOT, DaemonTestCase


class ExampleTests(DaemonTestCase):
    """The example of a queue."""

    words = (
        "--max-num-seqs", "2", "--max-loras", "1", "--max-cpu-loras", "2", "--lora-load-time", "300ms",
        "--time-to-first-token", "200ms",
    )  # fmt: skip

    def test_queue(self) -> None:
        """Those of the adapter that is on the GPU, and of the base model, are served before those of another."""
        script = str(ROOT / "examples" / "lora_queue.py")
        command = [sys.executable, script, f"http://127.0.0.1:{self.daemon.port}"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        order = [int(number) for number in re.findall(r"request (\d)", told)]
        self.assertEqual([{0, 1}, {3, 5}, {6, 7}, {2, 4}], [set(order[place : place + 2]) for place in range(0, 8, 2)])
        self.assertIn("models: Qwen/Qwen3-0.6B, sql, poet", told)
        page = self.daemon.get("/metrics").decode()
        self.assertEqual(4, page.count("vllm:lora_requests_info{"))
        self.assertIn('vllmsim:lora_evictions_total{engine="0",model_name="Qwen/Qwen3-0.6B",place="gpu"} 1.0', page)
