"""What a request costs beside the HTTP stack: reading its body and writing its answer.

Prints microseconds of one core and their ratio to a control in the same run: the standard library's json reading the
same body and writing the same answer, without looking at either. Run it with ``make bench``.
"""

import json
import timeit
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, execute

from vllmsim.api.body import Head
from vllmsim.api.chat import ChatDialect
from vllmsim.api.dialect import Call, Dialect, Settings
from vllmsim.inference import Answer, Conversation, TokenizedPrompt
from vllmsim.models import ModelCatalogue
from vllmsim.tokenization.words import WordTokenizer

_HEAD: Final = Head("application/json")
_BAR: Final = 60.0
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


def _best(function: Callable[[], object]) -> float:
    """Measure microseconds of one call, as the best of several rounds."""
    timer = timeit.Timer(function)
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number * 1e6


def _tokenize(text: str) -> tuple[list[int], list[str]]:
    found: list[Any] = []
    Deferred.fromCoroutine(WordTokenizer(execute).encode(text, 1000)).addCallback(found.append)
    return list(found[0].ids), list(found[0].texts)


def _answer(text: str) -> Answer:
    ids, texts = _tokenize(text)
    return Answer([*ids, 0], [*texts, "<|im_end|>"], [*texts, ""], "stop")


def _write(call: Call, prompt: TokenizedPrompt, answer: Answer) -> bytes:
    if call.stream_encoder is None:
        return call.whole_encoder().body([prompt], 0, [answer])
    encoder = call.stream_encoder()
    return encoder.opening([prompt], 0) + encoder.tokens(0, answer, 0, len(answer)) + encoder.closing()


def measure(dialect: Dialect, fields: dict[str, Any]) -> tuple[float, float, float]:
    """Measure one kind of request.

    :param fields: what the request has beside two messages.
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
    written = call.whole_encoder().body([prompt], 0, [answer])
    reading = _best(lambda: dialect.parse(body, _HEAD))
    writing = _best(lambda: _write(call, prompt, answer))
    control = _best(lambda: (json.loads(body), json.dumps(json.loads(written))))
    return reading, writing, control


def main() -> None:
    """Print the table."""
    settings = Settings(ModelCatalogue("m", ("m",)), new_id=lambda: "0123456789abcdef", now=lambda: 1795339833)
    dialect = ChatDialect(settings)
    print(f"{'chat request':24}{'read us':>9}{'write us':>10}{'both us':>9}{'bar us':>8}{'/ json':>8}")
    for name, fields in (
        ("whole", {}),
        ("streamed", {"stream": True, "stream_options": {"include_usage": True}}),
        ("whole, with a tool", {"tools": [_TOOL]}),
    ):
        reading, writing, control = measure(dialect, fields)
        both = reading + writing
        print(f"{name:24}{reading:9.1f}{writing:10.1f}{both:9.1f}{_BAR:8.0f}{both / control:8.2f}")


if __name__ == "__main__":
    main()
