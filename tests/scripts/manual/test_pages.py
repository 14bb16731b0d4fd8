"""Manual pages."""

import shutil
import subprocess
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim import __version__
from vllmsim.config.names import all_options
from vllmsim.config.schema import own_options
from vllmsim.scripts.dataset.options import parser
from vllmsim.scripts.manual import pages

DATE = "2026-11-23"
PAGES = {
    "vllmsim.1": pages.daemon(DATE),
    "vllmsim-dataset.1": pages.dataset(DATE),
    "vllmsim.yaml.5": pages.configuration(DATE),
}


class PagesTests(SynchronousTestCase):
    """What they say."""

    def test_daemon(self) -> None:
        """The page of vllmsim has every option with its default, and every environment variable."""
        page = PAGES["vllmsim.1"]
        self.assertIn(f'.TH VLLMSIM 1 "{DATE}" "vllmsim {__version__}"', page)
        for option in all_options():
            self.assertIn(rf"\fB\-\-{option.name.replace('-', chr(92) + '-')}", page)
            if option.environment:
                self.assertIn(rf"\fB{option.environment}\fR", page)
        self.assertIn(r"\fB\-\-port INTEGER\fR", page)
        self.assertIn("(default 8000)", page)
        self.assertIn(r"\fB\-\-streams N\fR", page)
        self.assertIn(r"\fB\-\-check REPORT\fR", page)

    def test_dataset(self) -> None:
        """The page of vllmsim-dataset has its options, with the words that they may be."""
        page = PAGES["vllmsim-dataset.1"]
        for action in parser()._actions:
            self.assertIn(", ".join(action.option_strings).replace("-", r"\-"), page)
        self.assertIn(r"\fB\-\-records {both,chat,completions}\fR", page)

    def test_configuration(self) -> None:
        """The page of the file has every key that means something, with what it must be."""
        page = PAGES["vllmsim.yaml.5"]
        for option in own_options():
            self.assertIn(rf"\fB{option.name.replace('-', chr(92) + '-')}\fR", page)
        self.assertIn("It must be an integer from 1 to 65535.", page)
        self.assertNotIn(r"\fBenforce\-eager\fR", page)


@skipUnless(shutil.which("groff") and shutil.which("mandoc"), "needs groff and mandoc")
class FormatTests(SynchronousTestCase):
    """What programs say that show pages."""

    def test_clean(self) -> None:
        """Both of them that read such pages have nothing to say."""
        folder = make_folder(self)
        for name, page in PAGES.items():
            folder.joinpath(name).write_text(page, "utf-8")
            for command in (["groff", "-man", "-ww", "-z"], ["mandoc", "-Tlint"]):
                said = subprocess.run([*command, name], cwd=folder, capture_output=True, text=True, check=False)
                self.assertEqual(("", "", 0), (said.stdout, said.stderr, said.returncode), command)
