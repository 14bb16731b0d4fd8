# -*- test-case-name: tests.scenario.test_options -*-
"""How scenarios change options: in the one way in which everybody does, as steps of one change."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from attrs import define
from twisted.logger import Logger

from vllmsim.errors import InferenceError, InvalidRequest
from vllmsim.interfaces import IConfigurations
from vllmsim.scenario.stage import Stage


@define(eq=False)
class ScenarioOptions:
    """Has options changed, and changed back.

    :param configurations: those of all ranks of the server.
    """

    _log: ClassVar[Logger] = Logger()

    _configurations: IConfigurations

    async def change(self, name: str, changes: Mapping[Stage, Mapping[str, object]], *, whole: bool = False) -> None:
        """Change options: of all ranks together, where that is the same for all.

        :param name: the scenario's.
        :param changes: by rank, what changes there, as a file would have it.
        :param whole: whether None takes a value away, and values that could change in part change as a whole.
        :raises vllmsim.errors.InferenceError: when that cannot be.
        """
        who = f"scenario {name}"
        (stage, first), *others = changes.items()
        if len(changes) == len(stage.live.current.ranks) and all(each == first for _, each in others):
            if first:
                await self._configurations.change(first, None, who, step=True, whole=whole)
            return
        for stage, options in changes.items():
            if options:
                await self._configurations.change(options, stage.number, who, step=True, whole=whole)

    async def restore(self, name: str, stages: Sequence[Stage]) -> None:
        """Have options as they were before, but for those that others have changed since."""
        changes = {stage: stage.former_options() for stage in stages}
        try:
            await self.change(name, changes, whole=True)
        except InvalidRequest as error:
            # It does not go with what others have changed since; some of it may.
            self._log.warn("Not all options can be as they were before: {error}", error=error.message)
            for stage, options in changes.items():
                await self._restore_each(name, stage, options)
        except InferenceError as error:
            self._log.warn("Options stay as they are: {error}", error=error.message)

    async def _restore_each(self, name: str, stage: Stage, options: Mapping[str, object]) -> None:
        for option, value in options.items():
            try:
                await self.change(name, {stage: {option: value}}, whole=True)
            except InferenceError as error:
                self._log.warn("{option} stays as it is: {error}", option=option, error=error.message)
