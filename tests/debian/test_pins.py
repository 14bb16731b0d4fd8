"""What the package is made of is known to the byte before it is downloaded."""

import configparser
import re
import tomllib
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from twisted.trial.unittest import SynchronousTestCase

from tests.debian.units import FOLDER

LOCK = FOLDER / "wheels.txt"
EXTRAS = ("grpc", "otel")


def needs() -> Iterator[Requirement]:
    """List what the package, with its extras, and its build take."""
    setup = configparser.ConfigParser()
    setup.read(FOLDER.parent / "setup.cfg", "utf-8")
    extras = setup["options.extras_require"]
    lines = "\n".join([setup["options"]["install_requires"], *(extras[name] for name in EXTRAS)]).splitlines()
    built = tomllib.loads(FOLDER.parent.joinpath("pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    yield from map(Requirement, [*(line for line in lines if line and not line.startswith("#")), *built])


class PinTests(SynchronousTestCase):
    """The list of releases and hashes."""

    def test_agreement(self) -> None:
        """Everything that setup.cfg and the build ask for is pinned, at a release that they take."""
        pinned = {
            name: Version(version) for name, version in re.findall(r"^(\S+)==(\S+)", LOCK.read_text(), re.MULTILINE)
        }
        for need in needs():
            version = pinned.get(canonicalize_name(need.name))
            self.assertIsNotNone(version, f"{need.name} is not in {LOCK.name}: make pins")
            self.assertIn(version, need.specifier, f"{need.name} in {LOCK.name}: make pins")

    def test_hashes(self) -> None:
        """Each package has SHA-256 hashes, and no line says where anything is to be had."""
        lines = LOCK.read_text("utf-8").replace("\\\n", "").splitlines()
        self.assertTrue(lines[0].startswith("# Written by `make pins` on "))
        for line in lines[1:]:
            self.assertRegex(line, r"^[a-z0-9-]+==[\w.!+]+ (;[^;#]+)?( +--hash=sha256:[0-9a-f]{64})+$")
