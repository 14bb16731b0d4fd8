# -*- test-case-name: tests.web.test_tokens -*-
"""The routes that tokenize."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred

from vllmsim.api.description import ASKING, Response
from vllmsim.api.messages.dialect import CountBody, CountDialect
from vllmsim.api.shapes.errors import ErrorBody
from vllmsim.api.shapes.messages import MessagesError, TokenCount
from vllmsim.api.shapes.server import Detokenized, Tokenized
from vllmsim.api.tokens import DetokenizeBody, TokenDialect, TokenizeBody
from vllmsim.interfaces import ITokenizer
from vllmsim.web.described import described
from vllmsim.web.reading import read_body
from vllmsim.web.request import Request

_NO_LIMIT: Final = sys.maxsize
_INLINE_SPELLINGS: Final = 2048
"""How many tokens are spelled without a thread: some 2 ms."""


def _remember(request: Request, ids: Sequence[int]) -> None:
    """Have the journal know how many tokens a prompt has."""
    if request.record is not None:
        request.record.prompt_tokens = len(ids)


@define(slots=False, eq=False)
class TokenRoutes:
    """Turns text into tokens and back, for clients that count them.

    :param defer_to_thread: runs a function off the reactor; large bodies are read and many tokens spelled there.
    """

    app: ClassVar[Klein] = Klein()

    _dialect: TokenDialect
    _tokenizer: ITokenizer
    _defer_to_thread: Callable[..., Deferred[Any]]

    @app.route("/tokenize", methods=["POST"])
    @described("Tokens", Response(Tokenized), body=TokenizeBody, errors=ASKING, example={"prompt": "Hello!"})
    async def tokenize(self, request: Request) -> None:
        """Answer with the tokens of a text or a conversation."""
        prompt, spelled = await read_body(self._dialect.parse_tokenize, request, self._defer_to_thread)
        ids = (await self._tokenizer.read(prompt, _NO_LIMIT)).ids
        _remember(request, ids)
        request.answer(200, self._dialect.tokenized(ids, await self._spell(ids) if spelled else None))

    @app.route("/detokenize", methods=["POST"])
    @described("Tokens", Response(Detokenized), body=DetokenizeBody, errors=ASKING, example={"tokens": [1, 2]})
    async def detokenize(self, request: Request) -> None:
        """Answer with the text of some tokens."""
        ids = await read_body(self._dialect.parse_detokenize, request, self._defer_to_thread)
        request.answer(200, self._dialect.detokenized(await self._tokenizer.decode(ids)))

    async def _spell(self, ids: Sequence[int]) -> Sequence[str]:
        if len(ids) <= _INLINE_SPELLINGS:
            return self._tokenizer.pieces_of(ids)
        pieces: Sequence[str] = await self._defer_to_thread(self._tokenizer.pieces_of, ids)
        return pieces


@define(slots=False, eq=False)
class CountRoutes:
    """Counts the tokens of Messages requests.

    :param defer_to_thread: runs a function off the reactor; large bodies are read there.
    """

    app: ClassVar[Klein] = Klein()

    _messages: CountDialect
    _tokenizer: ITokenizer
    _defer_to_thread: Callable[..., Deferred[Any]]

    @app.route("/v1/messages/count_tokens", methods=["POST"])
    @described(
        "Tokens",
        Response(TokenCount),
        body=CountBody,
        errors=ASKING,
        error_shapes=(MessagesError, ErrorBody),
        dialect="anthropic",
        example={"model": "model", "messages": [{"role": "user", "content": "Hello!"}]},
    )
    async def count_tokens(self, request: Request) -> None:
        """Answer with the number of a Messages request's tokens."""
        prompt = await read_body(self._messages.parse, request, self._defer_to_thread)
        read = await self._tokenizer.read(prompt, _NO_LIMIT)
        _remember(request, read.ids)
        request.answer(200, self._messages.counted(len(read.ids)))


@define(slots=False, eq=False)
class TokenizerRoutes:
    """Tells about the tokenizer, on servers that do."""

    app: ClassVar[Klein] = Klein()

    _dialect: TokenDialect
    _tokenizer: ITokenizer

    @app.route("/tokenizer_info", methods=["GET"])
    @described("Tokens", Response(dict[str, Any]))
    def info(self, request: Request) -> None:
        """Answer with how the tokenizer was made."""
        request.answer(200, self._dialect.described(self._tokenizer.describe()))
