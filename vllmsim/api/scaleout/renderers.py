# -*- test-case-name: tests.api.scaleout.test_render -*-
"""Requests of each surface, rendered."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from vllmsim.api.body import Head, read_object
from vllmsim.api.chat import ChatDialect
from vllmsim.api.chatanswer import ChatReading
from vllmsim.api.completions import CompletionDialect
from vllmsim.api.dialect import Settings
from vllmsim.api.messages.dialect import MessagesDialect
from vllmsim.api.responses.dialect import ResponsesDialect
from vllmsim.api.responses.form import FunctionTool
from vllmsim.api.responses.store import ResponseStore
from vllmsim.api.sampling import SamplingBody
from vllmsim.api.scaleout.render import Details, Rendering, engine_parameters
from vllmsim.api.toolcalls import ChatTool
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Conversation, InferenceRequest


def _details(body: SamplingBody, budget: int | None = None, **more: Any) -> Details:
    return Details(
        stream=bool(body.stream),
        stream_options=None if body.stream_options is None else body.stream_options.model_dump(),
        cache_salt=body.cache_salt,
        priority=body.priority or 0,
        return_token_ids=body.return_token_ids,
        engine=engine_parameters(body, body.vllm_xargs)
        | {
            "spaces_between_special_tokens": False if body.spaces_between_special_tokens is False else None,
            "bad_words": body.bad_words,
            "thinking_token_budget": budget,
        },
        **more,
    )


@frozen(eq=False)
class ChatRenderer:
    """Renders chat completion requests."""

    _settings: Settings

    def render(self, body: bytes, head: Head) -> Rendering:
        """Read a request; see :class:`vllmsim.api.scaleout.render.RenderDialect`."""
        return _rendered(ChatDialect(self._settings).read(body, head))


@frozen(eq=False)
class MessagesRenderer:
    """Renders Messages requests, which are chat requests of another form."""

    _settings: Settings

    def render(self, body: bytes, head: Head) -> Rendering:
        """Read a request; see :class:`vllmsim.api.scaleout.render.RenderDialect`."""
        return _rendered(MessagesDialect(self._settings).read(body, head))


@frozen(eq=False)
class ResponsesRenderer:
    """Renders Responses requests. Each stands for itself: nothing is kept that one could go on from.

    :param max_model_len: the most tokens of a prompt and its answer together.
    """

    _settings: Settings
    _max_model_len: int

    def render(self, body: bytes, head: Head) -> Rendering:
        """Read a request; see :class:`vllmsim.api.scaleout.render.RenderDialect`."""
        if read_object(body, head).get("previous_response_id") is not None:
            raise InvalidParameter(
                "previous_response_id is not supported by the render endpoint", "previous_response_id"
            )
        reading = ResponsesDialect(self._settings, self._max_model_len, ResponseStore()).read(body, head)
        asked, reasons = reading.body, self._settings.reasons
        tools = [tool for tool in asked.tools or () if isinstance(tool, FunctionTool)]
        effort = asked.reasoning.effort if asked.reasoning else None
        template = _template(asked.chat_template_kwargs, effort)
        context = _context(
            reading.request,
            [tool.chat_tool() for tool in tools],
            asked.tool_choice,
            template,
            parallel=asked.parallel_tool_calls,
            reasoning=asked.include_reasoning,
        )
        details = Details(
            stream=bool(asked.stream),
            cache_salt=asked.cache_salt,
            priority=asked.priority or 0,
            engine=engine_parameters(asked, asked.vllm_xargs),
            parse_context=context,
            template=template if reasons else None,
            reasoning_ended=not reading.request.form.thinks if reasons else None,
        )
        return Rendering(reading.request, details)


def _rendered(reading: ChatReading) -> Rendering:
    chat, reasons = reading.body, reading.settings.reasons
    if chat.use_beam_search:
        raise InvalidRequest("Beam search is not supported by the render endpoint")
    template = _template(
        chat.chat_template_kwargs,
        chat.reasoning_effort,
        begins=chat.add_generation_prompt,
        goes_on=chat.continue_final_message,
    )
    context = _context(
        reading.request,
        chat.tools or [],
        chat.tool_choice,
        template,
        parallel=chat.parallel_tool_calls,
        reasoning=chat.include_reasoning,
    )
    details = _details(
        chat,
        budget=chat.thinking_token_budget,
        parse_context=context,
        template=template if reasons else None,
        reasoning_ended=not reading.request.form.thinks if reasons else None,
        data=chat.return_mm_kwargs is not False,
    )
    return Rendering(reading.request, details)


def _context(
    request: InferenceRequest,
    tools: Sequence[ChatTool],
    choice: str | Mapping[str, Any] | None,
    template: Mapping[str, Any],
    *,
    parallel: bool | None,
    reasoning: bool | None,
) -> dict[str, Any]:
    """Make ``parse_context``.

    :param parallel: whether an answer may have several calls.
    :param reasoning: whether the client wants to see reasoning.
    """
    [prompt] = request.prompts
    turns = prompt.messages if isinstance(prompt, Conversation) else ()
    return {
        "tools": [tool.model_dump() for tool in tools] or None,
        "tool_choice": choice or "auto" if tools else "none",
        "parallel_tool_calls": parallel,
        "include_reasoning": reasoning,
        "chat_template_kwargs": template,
        "history_tool_call_cnt": sum(turn.role == "tool" for turn in turns),
    }


def _template(
    arguments: Mapping[str, Any] | None, effort: str | None, *, begins: bool | None = True, goes_on: bool | None = False
) -> dict[str, Any]:
    """Collect the arguments of the chat template; vLLM names a dialect of Cohere's among them, whatever the model.

    :param arguments: the request's own.
    :param effort: how much the model is to think, if the request says.
    """
    return {
        "cohere_format": "cmd4",
        **(arguments or {}),
        "add_generation_prompt": bool(begins),
        "continue_final_message": bool(goes_on),
        **({} if effort is None else {"reasoning_effort": effort}),
    }


@frozen(eq=False)
class CompletionRenderer:
    """Renders completion requests."""

    _settings: Settings

    def render(self, body: bytes, head: Head) -> Rendering:
        """Read a request; see :class:`vllmsim.api.scaleout.render.RenderDialect`."""
        reading = CompletionDialect(self._settings).read(body, head)
        details = _details(reading.body)
        return Rendering(reading.request, details, several=True)
