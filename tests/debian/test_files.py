"""What the package is made of, without building it."""

import re
import shutil
import subprocess
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from tests.debian.units import FOLDER, Unit
from tests.folders import make_folder
from vllmsim import __version__
from vllmsim.config.schema import Configuration

UNITS = ("vllmsim.service", "vllmsim@.service", "vllmsim.socket")


class FilesTests(SynchronousTestCase):
    """Files that must go together."""

    def test_version(self) -> None:
        """The package has the program's version."""
        entry = FOLDER.joinpath("changelog").read_text("utf-8").splitlines()[0]
        self.assertEqual(__version__, re.fullmatch(r"vllmsim \((.*)\) \S+; urgency=\S+", entry)[1])  # type: ignore[index]

    def test_instance(self) -> None:
        """An instance is what the service is, with a file, options, folders and a user of its own."""
        service, instance = (FOLDER.joinpath(name).read_text("utf-8") for name in UNITS[:2])
        self.assertEqual(instance.splitlines()[1], "Description=Simulated vLLM inference server, %i")
        expected = service.replace("Description=Simulated vLLM inference server", instance.splitlines()[1])
        for before, after in (
            ("/etc/vllmsim/sim.yaml", "/etc/vllmsim/%i.yaml"),
            ("/etc/default/vllmsim", "/etc/default/vllmsim-%i"),
            ("User=vllmsim", "User=vllmsim-%i"),
            ("Directory=vllmsim", "Directory=vllmsim-%i"),
            ("%S/vllmsim", "%S/vllmsim-%i"),
            ("%C/vllmsim", "%C/vllmsim-%i"),
        ):
            expected = expected.replace(before, after)
        self.assertEqual(expected, instance)

    def test_patience(self) -> None:
        """The service may take longer to stop than requests may go on, and their clients to read what is left."""
        unit, configuration = Unit.read(FOLDER / UNITS[0]), Configuration()
        self.assertLess(configuration.shutdown_timeout + 15, unit.seconds("TimeoutStopSec"))

    def test_persistence(self) -> None:
        """It is started again however often it fails: systemd gives up after five starts in ten seconds."""
        self.assertLessEqual(10 / 5, Unit.read(FOLDER / UNITS[0]).seconds("RestartSec"))


@skipUnless(shutil.which("systemd-analyze"), "needs systemd-analyze")
class UnitTests(SynchronousTestCase):
    """What systemd says of the units."""

    def setUp(self) -> None:
        """Copy them beside programs that are here."""
        self.folder = make_folder(self)
        for name in UNITS:
            text = FOLDER.joinpath(name).read_text("utf-8").replace("/usr/bin/vllmsim ", "/bin/true ")
            self.folder.joinpath(name.replace("@", "@a")).write_text(text, "utf-8")

    def analyze(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Ask systemd-analyze."""
        return subprocess.run(
            ["systemd-analyze", *words], cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )

    def test_verify(self) -> None:
        """There is nothing to say of them: it would name an unknown key without failing."""
        for name in sorted(path.name for path in self.folder.iterdir()):
            said = self.analyze("verify", "--man=no", f"./{name}")
            self.assertEqual(("", "", 0), (said.stdout, said.stderr, said.returncode), name)

    def test_security(self) -> None:
        """What the service can do if it is led astray is little: an exposure under 1.5."""
        for name in ("vllmsim.service", "vllmsim@a.service"):
            said = self.analyze("security", "--offline=yes", "--threshold=15", "--no-pager", f"./{name}")
            self.assertEqual(0, said.returncode, said.stdout)
            (exposure,) = re.findall(rf"exposure level for {name}: ([\d.]+) OK", said.stdout)
            self.assertLess(float(exposure), 1.5)
