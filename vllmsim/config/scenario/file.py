# -*- test-case-name: tests.config.scenario.test_file -*-
"""The file of a scenario that begins with the server."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen

from vllmsim.config.kinds import Kind
from vllmsim.config.scenario.text import MOST_BYTES

if TYPE_CHECKING:
    from vllmsim.config.scenario.values import Scenario
    from vllmsim.config.schema import Configuration


@frozen
class ScenarioFile:
    """A file, and what was in it: it is read once, and all ranks have the same, in whichever process they are.

    :param text: all of it, or more than may be in it.
    """

    path: str
    text: bytes = field(eq=False, repr=False)

    def scenario(self, configuration: "Configuration") -> "Scenario":
        """Read the scenario.

        :raises vllmsim.errors.InvalidRequest: with everything that is wrong with it, or does not go with a server.
        """
        # It needs the table of options, which needs this module.
        from vllmsim.config.scenario.reading import read_scenario  # noqa: PLC0415

        configurations = dict.fromkeys(configuration.ranks, configuration)
        return read_scenario(self.text, configurations, json=self.path.endswith(".json"))


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
            with Path(text).open("rb") as file:
                return ScenarioFile(text, file.read(MOST_BYTES + 1))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read it: {getattr(error, 'strerror', None) or error}") from None

    def to_value(self, value: ScenarioFile) -> str:
        """Write the path."""
        return value.path
