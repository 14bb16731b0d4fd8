# -*- test-case-name: tests.scripts.dataset.test_building -*-
"""From an input to records: what is asked becomes a prompt's tokens, and what is answered an answer's.

Records are written in the order of the input, whoever is done first, so that equal inputs make equal files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import orjson
from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from vllmsim.errors import InferenceError, InvalidRequest
from vllmsim.inference import Conversation, TextPrompt, Tokens
from vllmsim.interfaces import ITokenizer
from vllmsim.scripts.dataset.dialogues import Exchange, Form, Records, Skipped, exchanges
from vllmsim.scripts.dataset.faults import BadItem, BuildError
from vllmsim.scripts.dataset.order import in_order
from vllmsim.scripts.dataset.output import Record, Writer
from vllmsim.scripts.dataset.progress import Progress
from vllmsim.scripts.dataset.reading import Source
from vllmsim.scripts.dataset.server import Server

_EVERYTHING: Final = 2**31 - 1
_MOST_TOLD: Final = 20
_WIDTH: Final = 4
"""How many texts are with the tokenizer at the same time."""

_Task: TypeAlias = tuple[int, Sequence[Exchange | Skipped | BadItem]]
_Result: TypeAlias = tuple[int, Sequence[Record | Skipped | BadItem]]
"""A line, and what is there."""


@frozen
class Wishes:
    """Which records there are to be.

    :param form: what the input has to be; None to go by what it has.
    :param most: how many records there are at most; None for all.
    :param skip_bad: whether to go on without what cannot be used.
    """

    form: Form | None
    records: Records
    most: int | None
    skip_bad: bool


@define(eq=False)
class Builder:
    """Builds the records of one input.

    :param server: whose answers are recorded; None to take those of the input.
    :param width: how many prompts it is asked at the same time.
    """

    _wishes: Wishes
    _tokenizer: ITokenizer
    _server: Server | None
    _width: int
    _writer: Writer
    _progress: Progress
    _clock: IReactorTime
    skipped: Counter[str] = field(init=False, factory=Counter)
    """How many records are not made, by the reason."""
    chats: int = field(init=False, default=0)
    """How many of the records are for conversations."""
    _told: int = field(init=False, default=0)
    warned: bool = field(init=False, default=False)
    """Whether token ids were made here, because the server tells none."""

    async def build(self, source: Source) -> None:
        """Read an input to its end, or until there are enough records.

        :raises BuildError: when something cannot be used, and may not be skipped.
        """
        if self._server is not None:
            await self._server.prepare()

        def take(result: _Result) -> int:
            line, results = result
            for each in results:
                if self._room > 0:
                    self._take(source, line, each)
            return self._room

        width = _WIDTH if self._server is None else self._width
        await in_order(self._tasks(source), self._work, take, self._room, width, self._clock)

    @property
    def _room(self) -> int:
        most = self._wishes.most
        return _EVERYTHING if most is None else most - self._writer.count

    def _tasks(self, source: Source) -> Iterator[_Task]:
        """Read what there is to do; a server is asked one prompt at a time, and no more than are wanted."""
        wishes = self._wishes
        for item in source.items():
            if isinstance(item.value, BadItem):
                yield item.line, [item.value]
                continue
            try:
                found = [*exchanges(item.value, wishes.form, wishes.records, asked=self._server is not None)]
            except BadItem as error:
                yield item.line, [error]
                continue
            if self._server is None:
                yield item.line, found
            else:
                yield from ((item.line, [each]) for each in found)

    async def _work(self, task: _Task) -> _Result:
        line, some = task
        # Two records have the same answer.
        said: dict[str, Tokens] = {}
        return line, [await self._make(each, said) if isinstance(each, Exchange) else each for each in some]

    async def _make(self, exchange: Exchange, said: dict[str, Tokens]) -> Record | Skipped | BadItem:
        try:
            if self._server is None:
                return await self._tokenize(exchange, exchange.answer or "", said)
            return await self._record(self._server, exchange)
        except BadItem as error:
            return error
        except InvalidRequest as error:
            return BadItem(error.message)
        except InferenceError as error:
            raise BuildError(error.message) from None

    async def _tokenize(self, exchange: Exchange, answer: str, said: dict[str, Tokens]) -> Record | Skipped:
        """Make the tokens of a prompt and its answer.

        :param said: the tokens of answers, as far as they are known.
        """
        prompt = await self._tokenizer.read(exchange.prompt, _EVERYTHING)
        if answer not in said:
            said[answer] = await self._tokenizer.encode(answer, _EVERYTHING)
        return _record_of(exchange, tuple(prompt.ids), prompt.text, said[answer])

    async def _record(self, server: Server, exchange: Exchange) -> Record | Skipped:
        heard = await server.ask(exchange)
        if heard.prompt is None or heard.tokens is None:
            if not self.warned:
                self.warned = True
                self._progress.say("the server tells no token ids; they are made with the tokenizer of this command")
            return await self._tokenize(exchange, heard.text, {})
        text = heard.prompt_text or (
            exchange.prompt.text
            if isinstance(exchange.prompt, TextPrompt)
            else orjson.dumps(exchange.body["messages"]).decode()
        )
        return _record_of(exchange, tuple(heard.prompt), text, heard.tokens)

    def _take(self, source: Source, line: int, what: Record | Skipped | BadItem) -> None:
        if isinstance(what, Record):
            try:
                self._writer.add(what)
                self.chats += what.chat
            except BadItem as error:
                what = error
        if isinstance(what, Skipped):
            self.skipped[what.reason] += 1
        elif isinstance(what, BadItem) and self._wishes.skip_bad:
            self.skipped["a record that cannot be used"] += 1
            self._tell(f"{source.name}, line {line}: {what.reason}; skipped")
        elif isinstance(what, BadItem):
            raise BuildError(f"{source.name}, line {line}: {what.reason}; --skip-bad goes on without it")
        self._progress.advance(source.position, self._writer.count)

    def _tell(self, text: str) -> None:
        self._told += 1
        if self._told <= _MOST_TOLD:
            self._progress.say(text)
        elif self._told == _MOST_TOLD + 1:
            self._progress.say("and more, which are counted and not told")


def _record_of(exchange: Exchange, prompt: tuple[int, ...], text: str, answer: Tokens) -> Record | Skipped:
    if not len(answer):
        return Skipped("an answer without tokens")
    return Record(prompt, text, answer, chat=isinstance(exchange.prompt, Conversation))
