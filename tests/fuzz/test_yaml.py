"""Configuration files and scenarios that are none: each is refused in a line, and what runs stays as it is.

Most are read here, as the start reads them; a share goes to a daemon by SIGHUP and over HTTP, and to a start.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import ClassVar, Final

from tests.fuzz.daemon import FuzzTestCase
from tests.fuzz.report import Refused
from tests.fuzz.yamltexts import YamlTexts
from tests.integration.daemon import PATIENCE, ROOT, Daemon
from vllmsim.config.arguments import scan
from vllmsim.config.listing import print_config, sample_yaml
from vllmsim.config.loading import ConfigurationError, load
from vllmsim.config.names import all_options
from vllmsim.config.scenario.reading import read_scenario
from vllmsim.config.schema import Configuration
from vllmsim.errors import InvalidRequest

_ONE_IN_START: Final = 200
_ONE_IN_SENT: Final = 12
_LONGEST: Final = 500
"""Characters of a line that says what is wrong, beside what may be given instead."""
_REREAD: Final = re.compile(r"has been read again|stays as it is|does not hold|no configuration file")
_NAMES: Final = [option.name for option in all_options()]
_MEMBERS: Final = (
    "name", "note", "seed", "duration", "repeat", "keep", "rank", "steps", "at", "for", "set", "fail", "ramp",
    "metrics",
)  # fmt: skip
_SAMPLE: Final = re.findall(r"^#([a-z0-9-]+: .*)$", sample_yaml(), re.MULTILINE)


class YamlTests(FuzzTestCase):
    """A daemon whose configuration file others write."""

    surface = "YAML"
    folder: ClassVar[Path]
    file: ClassVar[Path]
    configurations: ClassVar[list[str]]
    scenarios: ClassVar[list[str]]

    @classmethod
    def setUpClass(cls) -> None:
        """Start the daemon on an empty file."""
        cls.folder = Path(mkdtemp()).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.file = cls.folder / "sim.yaml"
        cls.file.write_bytes(b"")
        os.mkfifo(cls.folder / "fifo")
        (cls.folder / "loop").symlink_to("loop")
        cls.configurations = [path.read_text("utf-8") for path in sorted((ROOT / "examples").glob("*.yaml"))]
        cls.configurations.append("\n".join(_SAMPLE))
        cls.scenarios = [path.read_text("utf-8") for path in sorted((ROOT / "etc/vllmsim/scenarios").glob("*.yaml"))]
        cls.daemon = Daemon(*cls.words, "--config", str(cls.file))
        cls.addClassCleanup(cls._stop)
        cls.daemon.wait()

    def test_survives(self) -> None:
        """Whatever a file says, a wrong one is refused in lines of ours, and changes nothing that runs."""
        self.fuzz(200, self.one)

    def one(self, chance: Random, _: int) -> None:
        """Play one text."""
        if chance.random() < 0.2:
            self.scenario(chance)
        elif chance.random() < 0.02:
            self.no_file(chance)
        else:
            self.configuration(chance)

    def configuration(self, chance: Random) -> None:
        """Read a text as the configuration."""
        own = [str(self.folder / name) for name in ("fifo", "loop", "none")]
        text = YamlTexts(chance, [*self.configurations, "\n".join(chance.sample(_SAMPLE, 12))], _NAMES, own).make()
        self.file.write_bytes(text)
        sent, started = chance.randrange(_ONE_IN_SENT) == 0, chance.randrange(_ONE_IN_START) == 0
        try:
            loaded = load(scan([*self.words, "--config", str(self.file)]), {})
        except ConfigurationError as error:
            self.plain(error)
            if sent:
                self.unchanged(self.reread)
                self.unchanged(lambda: self.post("/admin/config", text, "application/json"))
            if started:
                self.start_fails(self.file)
            raise Refused from None
        print_config(loaded).encode()

    def plain(self, error: ConfigurationError) -> None:
        """Hold that each problem is a line, and not a long one."""
        first, *lines = str(error).split("\n")
        self.assertRegex(first, r"^\d+ problems? in the configuration:$")
        self.assertEqual(len(error.problems), len(lines))
        for line, problem in zip(lines, error.problems, strict=True):
            allowed = problem.fault.partition("must be")[2]
            self.assertTrue(line.isprintable(), line)
            self.assertLess(len(line) - len(allowed), _LONGEST + len(str(self.file)) * 2, line)

    def reread(self) -> None:
        """Have the daemon read its file again, and wait until it has."""
        before = len(_REREAD.findall(self.daemon.output()))
        self.daemon.process.send_signal(signal.SIGHUP)
        self.settle(lambda: len(_REREAD.findall(self.daemon.output())) > before, "the file is not read again")

    def unchanged(self, attempt: Callable[[], object]) -> None:
        """Hold that something leaves the configuration that runs as it was."""
        before = self.daemon.get("/admin/config")
        attempt()
        self.assertEqual(before, self.daemon.get("/admin/config"))

    def post(self, path: str, body: bytes, kind: str) -> None:  # type: ignore[override]
        """Send a text, and hold that it is refused."""
        request = urllib.request.Request(self.daemon.url(path), body, {"Content-Type": kind})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=PATIENCE)
        caught.exception.close()
        self.assertIn(caught.exception.code, (400, 404, 409, 413, 422))

    def start_fails(self, path: Path) -> None:
        """Hold that a start with a file ends with status 1 and lines of ours."""
        command = [sys.executable, "-m", "vllmsim", *self.words, "--check-config", "--config", str(path)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False)
        self.assertEqual((1, b""), (ended.returncode, ended.stdout))
        self.assertRegex(ended.stderr.decode(), r"^vllmsim: \d+ problems? in the configuration:\n(  [^\n]+\n)+$")

    def no_file(self, chance: Random) -> None:
        """Name what is no file."""
        path = chance.choice(
            ("/dev/zero", "/dev/full", "/", "/proc/self/mem", *(self.folder / n for n in ("loop", "no")))
        )
        try:
            load(scan(["--config", str(path)]), {})
        except ConfigurationError as error:
            self.plain(error)
            raise Refused from None
        raise AssertionError(f"{path} was read")

    def scenario(self, chance: Random) -> None:
        """Read a text as a scenario."""
        text = YamlTexts(chance, self.scenarios, _MEMBERS).make()
        json = chance.random() < 0.1
        try:
            read_scenario(text, {0: Configuration()}, json=json)
        except InvalidRequest as error:
            self.assertLess(len(error.message), 20_000)
            if chance.randrange(_ONE_IN_SENT) == 0:
                kind = "application/json" if json else "application/yaml"
                self.unchanged(lambda: self.post("/admin/scenario", text, kind))
            raise Refused from None
