"""Options of the daemon in other commands."""

from argparse import ArgumentParser

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts import borrowing

NAMES = ("max-num-seqs", "enable-chunked-prefill")


class BorrowingTests(SynchronousTestCase):
    """A command with two of them."""

    def words(self, line: str) -> list[str]:
        """Read a line, and write it for the daemon."""
        parser = ArgumentParser()
        borrowing.describe(parser.add_argument_group("daemon"), NAMES)
        return borrowing.words_of(parser.parse_args(line.split()), NAMES)

    def test_words(self) -> None:
        """What was given is what the daemon would be given, and nothing else."""
        self.assertEqual([], self.words(""))
        self.assertEqual(["--max-num-seqs=3", "--config=x"], self.words("--config x --max-num-seqs 3"))
        self.assertEqual(["--enable-chunked-prefill=true"], self.words("--enable-chunked-prefill"))
        self.assertEqual(["--enable-chunked-prefill=false"], self.words("--no-enable-chunked-prefill"))
