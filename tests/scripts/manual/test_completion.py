"""What shells offer."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim.config.names import all_options
from vllmsim.scripts.manual import completion

LIBRARY = Path("/usr/share/bash-completion/bash_completion")
TAKEN = {offer.flags[0]: offer.takes for offer in completion.daemon_offers()}


class OffersTests(SynchronousTestCase):
    """What there is to offer."""

    def test_values(self) -> None:
        """Files are offered where a value is one, folders, the words that it may be, or nothing."""
        expected = {
            "--config": "files",
            "--chat-template": "files",
            "--dataset-path": "files",
            "--ssl-keyfile": "files",
            "--scenario": "files",
            "--tokenizer": "files",
            "--tokenizers-cache-dir": "folders",
            "--mode": "words",
            "--block-size": "words",
            "--port": "text",
            "--served-model-name": "text",
            "--chat-template-content-format": "words",
            "--enable-kvcache": "none",
        }
        self.assertEqual(expected, {flag: TAKEN[flag] for flag in expected})

    def test_all(self) -> None:
        """Every option is there, with a no for each that is yes or no."""
        offers = {offer.flags[0]: offer for offer in completion.daemon_offers()}
        self.assertLessEqual({f"--{option.name}" for option in all_options()}, offers.keys())
        self.assertEqual(("--no-enable-kvcache",), offers["--enable-kvcache"].opposite)


@skipUnless(shutil.which("bash") and LIBRARY.exists(), "needs bash and bash-completion")
class BashTests(SynchronousTestCase):
    """What bash offers."""

    def setUp(self) -> None:
        """Write the file, and some to be named."""
        self.folder = make_folder(self)
        self.folder.joinpath("completion").write_text(completion.bash(), "utf-8")
        self.folder.joinpath("sim.yaml").touch()
        self.folder.joinpath("somewhere").mkdir()

    def offered(self, line: str) -> list[str]:
        """Press the tabulator behind a line."""
        words = [part for word in line.split(" ") for part in re.split("(=)", word)]
        script = (
            f"source {LIBRARY}; source ./completion; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
            f"COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}; function=$(complete -p {words[0]}); "
            'function=${function#*-F }; ${function% *}; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        said = subprocess.run(
            ["bash", "--norc", "-c", script], cwd=self.folder, capture_output=True, text=True, check=False
        )
        self.assertEqual("", said.stderr)
        return said.stdout.split()

    def test_options(self) -> None:
        """Options are offered that begin with what is there; vLLM's others when none of ours does."""
        found = self.offered("vllmsim --time-to-f")
        self.assertEqual(["--time-to-first-token", "--time-to-first-token-std-dev"], found)
        self.assertEqual(["--no-enable-kvcache"], self.offered("vllmsim serve --no-enable-kvc"))
        self.assertEqual(["--dtype"], self.offered("vllmsim --dtyp"))
        self.assertIn("--model", self.offered("vllmsim -"))

    def test_values(self) -> None:
        """Behind an option is offered what it may be, with a blank and with a sign of equality."""
        self.assertEqual(["random", "echo"], self.offered("vllmsim --mode "))
        self.assertEqual(["echo"], self.offered("vllmsim --mode=e"))
        self.assertEqual(["sim.yaml"], self.offered("vllmsim --config si"))
        self.assertEqual(["somewhere"], self.offered("vllmsim --tokenizers-cache-dir s"))
        self.assertEqual([], self.offered("vllmsim --port "))

    def test_commands(self) -> None:
        """The benchmark has options of its own beside the daemon's, and so have calibrate and vllmsim-dataset."""
        self.assertEqual(["bench"], self.offered("vllmsim be"))
        self.assertEqual(["clock"], self.offered("vllmsim bench "))
        self.assertEqual(["--streams"], self.offered("vllmsim bench clock --strea"))
        self.assertEqual(["--max-num-seqs"], self.offered("vllmsim bench clock --max-num-seq"))
        self.assertEqual(["calibrate"], self.offered("vllmsim cal"))
        self.assertEqual(["--check", "--config"], self.offered("vllmsim calibrate --c"))
        self.assertEqual(["sim.yaml"], self.offered("vllmsim calibrate si"))
        self.assertEqual(["sim.yaml"], self.offered("vllmsim calibrate a.json --write si"))
        self.assertEqual(["both"], self.offered("vllmsim-dataset --records b"))
        self.assertEqual(["sim.yaml"], self.offered("vllmsim-dataset sim"))


@skipUnless(shutil.which("zsh"), "needs zsh")
class ZshTests(SynchronousTestCase):
    """What zsh is told."""

    def test_readable(self) -> None:
        """It can read the file, and all of its words."""
        path = make_folder(self) / "_vllmsim"
        path.write_text(completion.zsh(), "utf-8")
        script = f"_arguments() {{ :; }}; service=vllmsim; run() {{ source {path}; print -l -- $daemon; }}; run"
        said = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=False)
        self.assertEqual("", said.stderr)
        ours = [option for option in all_options() if option.group != "vllm"]
        flags = set(re.findall(r"^(--[a-z0-9-]+)", said.stdout, re.MULTILINE))
        self.assertEqual(set(), {f"--{option.name}" for option in ours} - flags)
