# -*- test-case-name: tests.assembly.test_tongue -*-
"""The tokens that a rank speaks in with clients of VllmEngine, where its own are none of theirs.

Those clients make tokens of texts, and texts of tokens, with the files of the server's tokenizer, which they fetch. The
word tokenizer has no files, and its ids are too large for theirs. So a rank that has it speaks with them in the tokens
of the built-in tokenizer, while it goes on to speak in words over HTTP.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred

from vllmsim.assembly.once import Once
from vllmsim.assembly.tokenizing import BUILTIN
from vllmsim.interfaces import ITokenizer
from vllmsim.tokenization.choice import Choice
from vllmsim.tokenization.huggingface import load_tokenizer
from vllmsim.tokenization.words import WordTokenizer

TEMPLATE: Final = "chat_template.jinja"
_COMMENT: Final = re.compile(rb"\{#.*?#\}", re.DOTALL)
_SWITCH: Final = re.compile(rb"\{%- if enable_thinking.*?endif -%\}", re.DOTALL)
_ANY: Final = WordTokenizer.vocabulary_size
"""Who brings tokens of another tokenizer is served too, as a rank with words serves them."""


@frozen(eq=False)
class Tongue:
    """A tokenizer.

    :param tokenizer: takes any ids.
    :param vocabulary_size: every id that means anything is below it.
    """

    tokenizer: ITokenizer
    vocabulary_size: int


def find_tongue(choice: Choice, defer_to_thread: Callable[..., Deferred[Any]]) -> Once[Tongue] | None:
    """Find out in which tokens a rank speaks.

    :param choice: the rank's own tokenizer.
    :param defer_to_thread: runs a function off the reactor.
    :return: None where it is in its own.
    """
    return Once(defer_to_thread, lambda: _load(defer_to_thread)) if choice.kind == "words" else None


def unthinking(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Take from the built-in tokenizer's files what switches reasoning on and off.

    Gateways conclude from it that answers begin with reasoning unless it is switched off, and take for that whatever a
    rank says that does not reason.
    """
    return {**files, TEMPLATE: _SWITCH.sub(b"", _COMMENT.sub(b"", files[TEMPLATE]))}


def _load(defer_to_thread: Callable[..., Deferred[Any]]) -> Tongue:
    tokenizer = load_tokenizer(BUILTIN, defer_to_thread)
    size, tokenizer.vocabulary_size = tokenizer.vocabulary_size, _ANY
    return Tongue(tokenizer, size)
