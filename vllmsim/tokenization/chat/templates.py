# -*- test-case-name: tests.tokenization.chat.test_templates -*-
"""Which chat template a conversation gets, what the template is told, and what becomes of one that refuses.

A model may have several templates by name. One that the operator gives comes before all of these, and one that a
request brings before that: whether it may is settled where requests are read. As with transformers 4.44 and later
there is none by default.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred

from vllmsim.errors import InvalidRequest
from vllmsim.inference import Conversation, Template
from vllmsim.tokenization.chat.foreign import ForeignTemplates
from vllmsim.tokenization.chat.turns import RefusedError

_NOT_FOR_REQUESTS: Final = ("chat_template", "tokenize")
_NOT_TOLD: Final = frozenset({"add_generation_prompt", "continue_final_message"})
"""Arguments that requests have fields for."""
_INLINE: Final = 4096


@define(eq=False)
class ChatTemplates:
    """Renders conversations.

    :param templates: the model's templates by name, of which ``default`` is for all and ``tool_use`` for requests with
        tools.
    :param special_tokens: texts that templates know by name, such as ``bos_token``.
    :param defer_to_thread: runs a function off the reactor; long conversations are rendered there.
    :param given: the operator's own template.
    :param content_format: how templates take content: ``string``, ``openai`` for parts, or ``auto`` to look.
    :param arguments: what templates are told unless the request says otherwise.
    :param epoch: tells seconds since the epoch.
    """

    _templates: Mapping[str, str]
    _special_tokens: Mapping[str, str]
    _defer_to_thread: Callable[..., Deferred[Any]]
    _given: str | None = None
    _content_format: str = "auto"
    _arguments: Mapping[str, Any] = field(factory=dict)
    _epoch: Callable[[], float] = time.time
    _renderers: dict[str, Any] = field(init=False, factory=dict)
    _foreign: ForeignTemplates = field(init=False)

    @_foreign.default
    def _have_foreign(self) -> ForeignTemplates:
        return ForeignTemplates(self._defer_to_thread)

    @property
    def default(self) -> str | None:
        """The template of a request without tools."""
        return self._source(None)

    async def render(self, conversation: Conversation) -> str:
        """Make a conversation one text.

        :raises InvalidRequest: when there is no template, or it refuses.
        """
        said = conversation.template
        turns = [message.turn for message in conversation.messages]
        try:
            arguments = self._told(said, turns)
            if said.source is None:
                source = self._chosen(arguments["tools"])
            elif said.source in self._templates:
                source = self._templates[said.source]
            else:
                return await self._foreign.render(said.source, self._content_format, arguments)
            if _weight((turns, arguments["tools"], arguments["documents"], arguments["variables"])) <= _INLINE:
                return self._render(source, arguments)
            text: str = await self._defer_to_thread(self._render_slowly, source, arguments)
        except RefusedError as error:
            raise InvalidRequest(str(error)) from error
        return text

    def close(self) -> None:
        """Let go of what renders the templates of requests."""
        self._foreign.close()

    def check(self) -> None:
        """Compile the templates that conversations will need.

        :raises RefusedError: when one is none.
        """
        for source in self._templates.values() if self._given is None else (self._given,):
            self._renderer(source)

    def _source(self, tools: Collection[Any] | None) -> str | None:
        if self._given is not None:
            return self._given
        if tools is not None and "tool_use" in self._templates:
            return self._templates["tool_use"]
        return self._templates.get("default")

    def _chosen(self, tools: Collection[Any] | None) -> str:
        source = self._source(tools)
        if source is None:
            raise RefusedError(
                "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat "
                "template if the tokenizer does not define one."
            )
        return source

    def _told(self, said: Template, turns: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Gather what the template is told."""
        told = {**self._arguments, **{name: value for name, value in said.arguments.items() if value is not None}}
        if unexpected := [name for name in _NOT_FOR_REQUESTS if name in told]:
            raise RefusedError(
                f"Found unexpected chat template kwargs from request: {{{', '.join(map(repr, unexpected))}}}"
            )
        if "messages" in told:
            raise RefusedError("Chat template kwargs have no messages; these are the request's own.")
        tools = _objects("tools", told.pop("tools", said.tools))
        documents = _objects("documents", told.pop("documents", None) if said.documents is None else said.documents)
        told.pop("documents", None)
        return {
            "turns": turns,
            "tools": tools,
            "documents": documents,
            "begins": said.begins,
            "goes_on": said.goes_on,
            "variables": {
                **self._special_tokens,
                **{name: value for name, value in told.items() if name not in _NOT_TOLD},
            },
        }

    def _renderer(self, source: str) -> Any:
        from vllmsim.tokenization.chat.rendering import Renderer, make_environment  # noqa: PLC0415 - most starts need none

        if source not in self._renderers:
            self._renderers[source] = Renderer(make_environment(self._epoch), source, self._content_format)
        return self._renderers[source]

    def _render(self, source: str, arguments: Mapping[str, Any]) -> str:
        return str(self._renderer(source).render(**arguments))

    def _render_slowly(self, source: str, arguments: Mapping[str, Any]) -> str:
        """Render so that other threads may run meanwhile."""
        from vllmsim.tokenization.chat.rendering import hurried  # noqa: PLC0415

        token = hurried.set(False)
        try:
            return self._render(source, arguments)
        finally:
            hurried.reset(token)


def _objects(name: str, given: object) -> list[Any] | None:
    if given is None:
        return None
    if not isinstance(given, Sequence) or not all(isinstance(each, Mapping) for each in given):
        raise RefusedError(f"Chat templates take {name} that are a list of objects.")
    return list(given)


def _weight(value: object) -> int:
    """Tell about how long a value is in JSON, up to where it is long."""
    weight, pending = 0, [value]
    while pending and weight <= _INLINE:
        each = pending.pop()
        weight += 8
        if isinstance(each, str):
            weight += len(each)
        elif isinstance(each, Mapping):
            weight += sum(map(len, each))
            pending += each.values()
        elif isinstance(each, list | tuple):
            weight += len(each)
            pending += each
    return weight
