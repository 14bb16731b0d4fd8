# -*- test-case-name: tests.scripts.dataset.test_command -*-
"""What can go wrong while a database is built; each is told in one line."""


class UsageError(Exception):
    """The words of the command line cannot be followed."""


class BuildError(Exception):
    """There will be no database."""


class BadItem(Exception):
    """One record of the input cannot be used.

    :param reason: why, as a sentence without its end.
    """

    @property
    def reason(self) -> str:
        """Why, on one line that is not too long."""
        text = " ".join(str(self).split())
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_LONGEST = 300
