"""The image's recipe. What it builds was tried by hand: no machine of ours runs containers."""

import json
import os
import re
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.resources import ROOT, needs, run
from tests.integration.daemon import PATIENCE, DaemonTestCase
from vllmsim import __version__
from vllmsim.config.arguments import Arguments
from vllmsim.config.loading import load

TEXT = ROOT.joinpath("Containerfile").read_text("utf-8").replace("\\\n", " ")


def instructions(name: str) -> list[str]:
    """List what an instruction is given, each time."""
    return re.findall(rf"^\s*{name} +(.+)$", TEXT, re.MULTILINE)


class ContainerfileTests(SynchronousTestCase):
    """What it says."""

    @needs("hadolint")
    def test_lint(self) -> None:
        """A linter finds nothing to say against it."""
        run("hadolint", str(ROOT / "Containerfile"))

    def test_sources(self) -> None:
        """What is copied is there, and is not left out by .containerignore."""
        kept = {
            line[1:] for line in ROOT.joinpath(".containerignore").read_text("utf-8").splitlines() if line[:1] == "!"
        }
        copied = {
            source for words in instructions("COPY") if "--from" not in words for source in words.split()[:-1]
        }  # fmt: skip
        for source in copied:
            self.assertTrue(ROOT.joinpath(source).exists(), source)
        self.assertEqual(kept, {source if source in kept else source.split("/")[0] for source in copied})

    def test_what_runs(self) -> None:
        """The image runs vllmsim with its sample configuration, as a user that is a number and not root's."""
        self.assertEqual(["vllmsim"], json.loads(instructions("ENTRYPOINT")[-1]))
        option, path = json.loads(instructions("CMD")[-1])
        [folder] = [words.split()[1] for words in instructions("COPY") if words.startswith("etc/vllmsim ")]
        self.assertEqual(("--config", f"{folder}/sim.yaml"), (option, path))
        configuration = load(Arguments(values={}, problems=[], config=str(ROOT / path.lstrip("/"))), {}).configuration
        self.assertEqual(str(configuration.port), instructions("EXPOSE")[0])
        user, group = map(int, instructions("USER")[-1].split(":"))
        self.assertTrue(user and group)
        self.assertIn(f'version="{__version__}"', instructions("LABEL")[0])

    def test_examples(self) -> None:
        """The router that manifests start is in the image, where they look for it."""
        [target] = [words.split()[1] for words in instructions("COPY") if words.startswith("examples ")]
        for name in ("etc/kubernetes/disaggregation/proxy.yaml", "etc/kubernetes/chart/templates/proxy.yaml"):
            self.assertIn(f"{target}/pd_proxy.py", ROOT.joinpath(name).read_text("utf-8"))


class HealthTests(DaemonTestCase):
    """How the image tells that it is well."""

    def check(self, url: str) -> int:
        """Run the image's check."""
        [words] = re.findall(r"HEALTHCHECK .*?CMD (\[.*\])", TEXT)
        program, *rest = json.loads(words)
        self.assertEqual("python", program)
        environment = {**os.environ, "HEALTH_URL": url}
        return subprocess.run(
            [sys.executable, *rest], env=environment, stderr=subprocess.DEVNULL, timeout=PATIENCE, check=False
        ).returncode

    def test_health(self) -> None:
        """The check passes where a server answers, and fails where it says that it is not well."""
        self.assertEqual(0, self.check(self.daemon.url("/health")))
        self.assertNotEqual(0, self.check(self.daemon.url("/no/health")))
