# -*- test-case-name: tests.dataset.test_datasets -*-
"""All datasets of a process, and which model answers from which."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vllmsim.config.datasets import Dataset
from vllmsim.dataset.conversations import Conversations
from vllmsim.dataset.database import DatasetError
from vllmsim.dataset.lookups import Lookups
from vllmsim.dataset.records import TABLE
from vllmsim.dataset.saved import SavedAnswers
from vllmsim.interfaces import IRankMetrics, IResponseSource, ITokenizer


@frozen(eq=False)
class Datasets:
    """The datasets that are in use, which the ranks of a process share.

    :param usual: that of models without one of their own, if there is one.
    :param by_model: the datasets of single models.
    """

    _log: ClassVar[Logger] = Logger()

    usual: Conversations | None
    by_model: Mapping[str, Conversations]

    @classmethod
    def open(
        cls,
        usual: Dataset | None,
        by_model: Mapping[str, Dataset],
        served: Collection[str],
        clock: IReactorTime,
        defer_to_thread: "Callable[..., Deferred[Any]]",
    ) -> "Datasets":
        """Open datasets, here and now; those of one table once.

        :param usual: of models that are not named; None for none.
        :param by_model: complete ones, by the name that answers carry.
        :param served: the names of models and adapters that there are.
        :param defer_to_thread: runs a function off the reactor.
        :raises DatasetError: with all that is wrong with them.
        """
        lookups = Lookups(defer_to_thread)
        opened: dict[tuple[str, str], Conversations] = {}
        wanted = [*([usual] if usual else []), *by_model.values()]
        for dataset in wanted:
            in_memory = any(other.in_memory for other in wanted if _key(other) == _key(dataset))
            if _key(dataset) not in opened:
                table = dataset.table_name or TABLE
                name = dataset.path if table == TABLE else f"{dataset.path}:{table}"
                opened[_key(dataset)] = Conversations(
                    name, dataset.path, table, in_memory, clock, lookups, defer_to_thread
                )
        _open(opened.values())
        for name in by_model:
            if name not in served:
                cls._log.warn(
                    "{name} has a dataset and is not served, until an adapter of that name is loaded.", name=name
                )
        own = {name: opened[_key(dataset)] for name, dataset in by_model.items()}
        return cls(opened[_key(usual)] if usual else None, own)

    @property
    def names(self) -> Sequence[str]:
        """What metrics call each of them."""
        return list(dict.fromkeys(each.name for each in self._all()))

    def answers(
        self, sentences: IResponseSource, tokenizer: ITokenizer, metrics: IRankMetrics, *, foreign: bool = False
    ) -> SavedAnswers:
        """Make the source of a rank's answers.

        :param sentences: says something when there is no answer to be had.
        :param metrics: hears of each lookup.
        :param foreign: whether the tokens of datasets are those of another tokenizer.
        """
        return SavedAnswers(self.by_model, self.usual, sentences, tokenizer, metrics, foreign)

    def close(self) -> "Deferred[list[None]]":
        """Use them no more.

        :return: fires when all files are closed.
        """
        return gatherResults([each.close() for each in dict.fromkeys(self._all())])

    def _all(self) -> list[Conversations]:
        return [*([self.usual] if self.usual else []), *self.by_model.values()]


def _key(dataset: Dataset) -> tuple[str, str]:
    path = dataset.path
    # What cannot be a path at all is told when it is opened.
    with suppress(ValueError):
        path = os.path.realpath(path)
    return path, dataset.table_name or TABLE


def _open(conversations: Collection[Conversations]) -> None:
    problems: list[str] = []
    for each in conversations:
        try:
            each.open()
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        raise DatasetError("; ".join(problems))
