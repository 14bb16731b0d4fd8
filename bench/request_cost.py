# -*- test-case-name: tests.integration.test_bench -*-
"""What a request costs beside the HTTP stack: reading its body and writing its answer.

Tells microseconds of one core and their ratio to a control in the same run: the standard library's json reading the
same body and writing the same answer, without looking at either.
"""

import json
import timeit
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, execute

from bench.plan import Plan, Result
from vllmsim.api.body import Head
from vllmsim.api.chat import ChatDialect
from vllmsim.api.dialect import Call, Dialect, Settings
from vllmsim.inference import Answer, Conversation, Prefill, TokenizedPrompt
from vllmsim.models import ModelCatalogue
from vllmsim.tokenization.words import WordTokenizer

_HEAD: Final = Head("application/json")
_QUESTION: Final = "How long does a request take in a server that has no model to wait for?"
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
            "required": ["city"],
        },
    },
}


_FIRST: Final = 20
_ROUND: Final = 0.05
_ROUNDS: Final = 5
_KINDS: Final[Mapping[str, dict[str, Any]]] = {
    "whole": {},
    "streamed": {"stream": True, "stream_options": {"include_usage": True}},
    "whole, with a tool": {"tools": [_TOOL]},
}


def _best(function: Callable[[], object], rounds: int) -> float:
    """Measure microseconds of one call, as the best of some rounds."""
    timer = timeit.Timer(function)
    number = max(1, round(_ROUND / max(1e-9, timer.timeit(_FIRST) / _FIRST)))
    return min(timer.repeat(rounds, number)) / number * 1e6


def _tokenize(text: str) -> tuple[list[int], list[str]]:
    found: list[Any] = []
    Deferred.fromCoroutine(WordTokenizer(execute).encode(text, 1000)).addCallback(found.append)
    return list(found[0].ids), list(found[0].texts)


def _answer(text: str) -> Answer:
    ids, texts = _tokenize(text)
    return Answer([*ids, 0], [*texts, "<|im_end|>"], [*texts, ""], "stop")


def _write(call: Call, prompt: TokenizedPrompt, answer: Answer) -> bytes:
    if call.stream_encoder is None:
        return call.whole_encoder().body([prompt], Prefill(len(prompt.ids)), [answer])
    encoder = call.stream_encoder()
    opening = encoder.opening([prompt], Prefill(len(prompt.ids)))
    return opening + encoder.tokens(0, answer, 0, len(answer)) + encoder.closing()


def measure(dialect: Dialect, fields: dict[str, Any], rounds: int = _ROUNDS) -> tuple[float, float, float]:
    """Measure one kind of request.

    :param fields: what the request has beside two messages.
    :param rounds: of which the best counts.
    :return: microseconds for reading, for writing, and for the control.
    """
    messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": _QUESTION}]
    body = json.dumps({"model": "m", "messages": messages, "temperature": 0.7, "max_tokens": 64, **fields}).encode()
    call = dialect.parse(body, _HEAD)
    conversation = call.request.prompts[0]
    assert isinstance(conversation, Conversation)
    ids, texts = _tokenize(_QUESTION)
    prompt = TokenizedPrompt(conversation, _QUESTION, ids, texts)
    answer = _answer("It takes as long as it takes to read it, to queue it, and to say these twenty-odd words. ")
    written = call.whole_encoder().body([prompt], Prefill(len(prompt.ids)), [answer])
    reading = _best(lambda: dialect.parse(body, _HEAD), rounds)
    writing = _best(lambda: _write(call, prompt, answer), rounds)
    control = _best(lambda: (json.loads(body), json.dumps(json.loads(written))), rounds)
    return reading, writing, control


def measure_all(plan: Plan) -> Result:
    """Measure what kinds of requests there are."""
    settings = Settings(ModelCatalogue("m", ("m",)), new_id=lambda: "0123456789abcdef", now=lambda: 1795339833)
    dialect = ChatDialect(settings)
    rows: list[list[str]] = []
    for name, fields in _KINDS.items():
        reading, writing, control = measure(dialect, fields, plan.rounds or _ROUNDS)
        both = reading + writing
        rows.append([name, f"{reading:.1f}", f"{writing:.1f}", f"{both:.1f}", f"{both / control:.2f}"])
        plan.say(f"  {name}: {both:.1f} us")
    return Result(
        "A chat request beside the HTTP stack", ("request", "read us", "write us", "both us", "/ json"), rows, {}
    )
