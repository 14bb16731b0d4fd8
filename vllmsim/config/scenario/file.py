# -*- test-case-name: tests.config.scenario.test_file -*-
"""The file of a scenario that begins with the server."""

from typing import ClassVar

from attrs import field, frozen

from vllmsim.config.kinds import Kind
from vllmsim.config.regular import read_regular
from vllmsim.config.scenario.text import MOST_BYTES


@frozen
class ScenarioFile:
    """A file, and what was in it: it is read once, and all ranks have the same, in whichever process they are.

    :param text: all of it, or more than may be in it.
    """

    path: str
    text: bytes = field(eq=False, repr=False)


@frozen
class ScenarioPath(Kind):
    """The path of a scenario's file, which is read at once."""

    placeholder: ClassVar[str] = "FILE"

    @property
    def allowed(self) -> str:
        """What may be given."""
        return "the path of a YAML or JSON file with a scenario"

    def from_text(self, text: str) -> ScenarioFile:
        """Read the file."""
        try:
            return ScenarioFile(text, read_regular(text, MOST_BYTES + 1))
        except ValueError as error:
            raise ValueError(f"cannot read it: {error}") from None

    def to_value(self, value: ScenarioFile) -> str:
        """Write the path."""
        return value.path
