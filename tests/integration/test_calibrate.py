"""``vllmsim calibrate`` with reports of a real daemon."""

import json
import random
import subprocess
import sys

from tests.folders import make_folder
from tests.integration.daemon import ROOT, DaemonTestCase
from tests.integration.loading import Load

PROGRAM = [sys.executable, "-m", "vllmsim", "calibrate"]
ENGINE = ("--max-num-seqs", "16", "--max-model-len", "1024", "--num-gpu-blocks-override", "512")


def sizes(count: int, seed: int) -> list[tuple[int, int]]:
    """Draw lengths of prompts and answers."""
    generator = random.Random(seed)
    return [(generator.randint(50, 500), generator.randint(3, 7)) for _ in range(count)]


class CalibrateTests(DaemonTestCase):
    """Steps of 50 ms and more, of which even a busy machine is late by little."""

    words = (
        "--model", "m", "--scheduling-model", "step", "--step-time-constant", "50ms", "--step-time-per-prefill-token",
        "200us", "--step-time-per-decode-sequence", "2ms", "--seed", "3", *ENGINE,
    )  # fmt: skip

    def test_live(self) -> None:
        """What a load generator has measured of a daemon tells the options that it has."""
        folder = make_folder(self)
        for name, places in (("fitted", 4), ("unseen", 5)):
            asked = sizes(3 * places, places)
            folder.joinpath(name).write_text(Load(self.daemon.port, "m", asked, places).run(places), "utf-8")
        command = [*PROGRAM, str(folder / "fitted"), "--check", str(folder / "unseen"), "--json", *ENGINE]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(("", 0), (said.stderr, said.returncode))
        value = json.loads(said.stdout)
        # On a machine that does nothing else they are off by one or two in a hundred; this one may have much to do.
        self.assertLess(abs(value["coefficients"]["constant"] / 0.05 - 1), 0.3)
        self.assertLess(abs(value["coefficients"]["per_prefill_token"] / 0.0002 - 1), 0.3)
        for each, requests in zip((*value["fitted"], *value["checked"]), (12, 15), strict=True):
            self.assertEqual((requests, 0), (each["requests"], each["left_out"]))
            self.assertLess(each["times"]["e2e"]["mape"], 0.25)
