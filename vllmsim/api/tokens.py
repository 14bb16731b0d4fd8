# -*- test-case-name: tests.api.test_tokens -*-
"""``/tokenize``, ``/detokenize`` and ``/tokenizer_info``, as vLLM 0.33 reads and writes them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import orjson
from attrs import frozen
from pydantic import Field

from vllmsim.api.body import Body, Head, Listed, read_object, validate
from vllmsim.api.conversation import ChatMessage, conversation_of, read_template
from vllmsim.api.toolcalls import ChatTool
from vllmsim.inference import Conversation, TextPrompt
from vllmsim.interfaces import IModelCatalogue


class _TokenBody(Body):
    model: str | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = False


class TokenizeTextBody(_TokenBody):
    """A text to be tokenized."""

    prompt: str


class TokenizeChatBody(_TokenBody):
    """A conversation to be tokenized."""

    messages: Listed[ChatMessage]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    tools: Listed[ChatTool] | None = None


TokenizeBody = TokenizeTextBody | TokenizeChatBody


class _EmptyBody(_TokenBody):
    """What a body without a prompt and without messages is checked against, so that the error names both."""

    prompt: str
    messages: Listed[ChatMessage]


class DetokenizeBody(Body):
    """Tokens that are to be text."""

    model: str | None = None
    tokens: Listed[Annotated[int, Field(ge=0)]]


@frozen(eq=False)
class TokenDialect:
    """Reads and writes the token routes.

    :param max_model_len: the context window, which answers report.
    :param trusts_templates: whether requests may bring chat templates of their own.
    """

    _models: IModelCatalogue
    _max_model_len: int
    _trusts_templates: bool = False

    def parse_tokenize(self, body: bytes, head: Head) -> tuple[TextPrompt | Conversation, bool]:
        """Read what is to be tokenized.

        :return: it, and whether the tokens' texts are wanted.
        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """
        data = read_object(body, head)
        if data.get("prompt") is not None:
            text = validate(TokenizeTextBody, data, body)
            self._models.resolve(text.model)
            return TextPrompt(text.prompt, text.add_special_tokens is not False), bool(text.return_token_strs)
        if "messages" not in data:
            validate(_EmptyBody, data, body)
        chat = validate(TokenizeChatBody, data, body)
        self._models.resolve(chat.model)
        # A template sees them as it does in a chat.
        tools = [tool.model_dump() for tool in chat.tools] if chat.tools else None
        template = read_template(chat, trusted=self._trusts_templates, tools=tools)
        return conversation_of(chat.messages, template), bool(chat.return_token_strs)

    def tokenized(self, ids: Sequence[int], strings: Sequence[str] | None) -> bytes:
        """Write the tokens of a text.

        :param strings: the tokens as the vocabulary spells them, if that is wanted.
        """
        members: dict[str, Any] = {
            "count": len(ids),
            "max_model_len": self._max_model_len,
            "tokens": list(ids),
            "token_strs": None if strings is None else list(strings),
        }
        return orjson.dumps(members)

    def parse_detokenize(self, body: bytes, head: Head) -> Sequence[int]:
        """Read the tokens that are to be text."""
        data = read_object(body, head)
        read = validate(DetokenizeBody, data, body)
        self._models.resolve(read.model)
        return read.tokens

    def detokenized(self, text: str) -> bytes:
        """Write the text of some tokens."""
        return orjson.dumps({"prompt": text})

    def described(self, info: Mapping[str, Any]) -> bytes:
        """Write what the tokenizer says of itself."""
        return orjson.dumps(dict(info))
