"""What clients ask for: a mixture of everything, drawn from a seed."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from attrs import define, field, frozen

from tests.soak import calls
from tests.soak.exchanges import Call, Leave, Where

ADAPTERS: Final = tuple(f"adapter-{number}" for number in range(8))
_WORDS: Final = ("cache", "block", "token", "queue", "prefill", "decode", "router", "slot", "stream", "rank", "seed")
_WHERE: Final[tuple[Where, ...]] = ("head", "body", "waiting", "waiting", "first", "middle", "middle")
_TOOL: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "units": {"enum": ["C", "F"]}},
    "required": ["city"],
}


@frozen
class Ask:
    """What a request says.

    :param reader: what reads its answer, of :data:`tests.soak.answers.READERS`.
    :param expected: sequences that it asks for.
    """

    path: str
    body: dict[str, Any] | bytes
    reader: str = "json"
    stream: bool = False
    expected: int = 1


@define
class Mixture:
    """Draws one request after another.

    :param name: what ids begin with.
    :param leaving: the share of clients that do not wait for the end.
    """

    random: Random
    name: str
    leaving: float = 0.12
    count: int = field(init=False, default=0)

    def draw(self) -> tuple[Call, str]:
        """Draw a request, and say what reads its answer."""
        self.count += 1
        [(kind, make)] = self.random.choices(_KINDS, _WEIGHTS)
        ask = make(self)
        rpc = isinstance(ask.body, bytes)
        headers = dict(calls.HEADERS) if rpc else {"content-type": "application/json"}
        if self.random.random() < 0.02:
            headers["x-return-error"] = str(self.random.choice((400, 404, 429, 500, 503)))
        if self.random.random() < 0.1:
            headers["x-data-parallel-rank"] = str(self.random.randrange(2))
        body = ask.body if isinstance(ask.body, bytes) else json.dumps(ask.body).encode()
        leave = self._leave(streams=ask.stream)
        id_ = f"{self.name}-{self.count}"
        return Call(id_, kind, ask.path, body, headers, ask.stream, ask.expected, leave), ask.reader

    def _leave(self, *, streams: bool) -> Leave | None:
        draw = self.random.random
        if draw() >= self.leaving:
            return None
        where = self.random.choice(_WHERE if streams else _WHERE[:4])
        after = {"first": 1.0, "middle": 2 + 20 * draw()}.get(where, 0.3 * draw())
        return Leave(where, after, draw() < 0.5)

    def words(self, most: int) -> str:
        """Make a text that shares its beginning with others, so that prefixes are found again."""
        shared = self.random.randrange(4)
        beginning = " ".join(_WORDS[(shared + 3 * each) % len(_WORDS)] for each in range(shared * 24))
        return beginning + " " + " ".join(self.random.choices(_WORDS, k=self.random.randint(1, most)))

    def ids(self) -> list[int]:
        """Make a prompt of token ids."""
        shared = [*range(100, 100 + 16 * self.random.randrange(6))]
        return shared + [self.random.randrange(1000, 30000) for _ in range(self.random.randint(1, 40))]

    def limits(self) -> dict[str, Any]:
        """Say who answers, and how long: mostly a few words, now and then many."""
        most = self.random.choice((1, 4, 8, 16, 24, 32, 48, 96))
        answer: dict[str, Any] = {"max_tokens": most, "ignore_eos": self.random.random() < 0.8}
        if self.random.random() < 0.15:
            answer["model"] = self.random.choice(ADAPTERS)
        return answer

    def some(self, share: float, body: dict[str, Any], **members: Any) -> None:
        """Add members to some bodies."""
        if self.random.random() < share:
            body.update(members)

    def chat(self) -> Ask:
        """Ask for a chat completion."""
        n = self.random.choice((1, 1, 1, 1, 1, 2, 3))
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": self.words(30)}]
        stream = self.random.random() < 0.6
        body: dict[str, Any] = {"messages": messages, "n": n, "return_token_ids": True, "stream": stream}
        body |= self.limits()
        if stream:
            body["stream_options"] = {"include_usage": True}
        self.some(0.15, body, logprobs=True, top_logprobs=2)
        self.some(0.2, body, seed=self.random.randrange(100))
        self.some(0.1, body, cache_salt=self.random.choice("ab"))
        self.some(0.2, body, priority=self.random.randrange(-2, 3))
        tools = [{"type": "function", "function": {"name": "forecast", "parameters": _TOOL}}]
        if self.random.random() < 0.15:
            body |= {"tools": tools, "tool_choice": self.random.choice(("auto", "required"))}
        elif self.random.random() < 0.15:
            schema = {"name": "trip", "schema": {**_TOOL, "additionalProperties": False}}
            body |= {"response_format": {"type": "json_schema", "json_schema": schema}, "ignore_eos": False}
        return Ask("/v1/chat/completions", body, "choices", stream, n)

    def completion(self) -> Ask:
        """Ask for a completion of one prompt or some."""
        n, stream = self.random.choice((1, 1, 1, 2)), self.random.random() < 0.6
        prompts: Any = self.random.choice((self.words(60), [self.words(20), self.words(5)], self.ids()))
        body: dict[str, Any] = {"prompt": prompts, "n": n, "return_token_ids": True, "stream": stream}
        body |= self.limits()
        if stream:
            body["stream_options"] = {"include_usage": True}
        self.some(0.15, body, logprobs=2)
        self.some(0.1, body, stop=["cache "])
        several = isinstance(prompts, list) and isinstance(prompts[0], str)
        return Ask("/v1/completions", body, "choices", stream, n * (2 if several else 1))

    def response(self) -> Ask:
        """Ask for a response."""
        stream = self.random.random() < 0.6
        body: dict[str, Any] = {"input": self.words(30), "stream": stream}
        body["max_output_tokens"] = self.random.choice((4, 16, 40))
        self.some(0.5, body, store=False)
        return Ask("/v1/responses", body, "response", stream)

    def message(self) -> Ask:
        """Ask for a message of Anthropic's API."""
        stream = self.random.random() < 0.6
        messages = [{"role": "user", "content": self.words(30)}]
        body: dict[str, Any] = {"model": "base", "messages": messages, "stream": stream}
        body["max_tokens"] = self.random.choice((4, 16, 40))
        self.some(0.2, body, tools=[{"name": "forecast", "input_schema": _TOOL}])
        return Ask("/v1/messages", body, "message", stream)

    def generate(self) -> Ask:
        """Ask for tokens."""
        stream, limits = self.random.random() < 0.6, self.limits()
        body = {"token_ids": self.ids(), "stream": stream}
        body |= {"model": limits.pop("model")} if "model" in limits else {}
        self.some(0.5, limits, n=1)
        body["sampling_params"] = limits
        if stream:
            body["stream_options"] = {"include_usage": True}
        return Ask("/inference/v1/generate", body, "choices", stream)

    def batch(self) -> Ask:
        """Ask for a chat completion of several conversations."""
        some = [[{"role": "user", "content": self.words(8)}] for _ in range(self.random.randint(1, 3))]
        body = {"messages": some, "max_tokens": 6, "return_token_ids": True}
        return Ask("/v1/chat/completions/batch", body, "choices", expected=len(some))

    def vectors(self) -> Ask:
        """Ask for what pools."""
        one, some = self.words(20), [self.words(10) for _ in range(self.random.randint(1, 4))]
        path, body = self.random.choice(_POOLING)
        filled = {name: {"ONE": one, "SOME": some}.get(str(value), value) for name, value in body.items()}
        return Ask(path, filled)

    def tokens(self) -> Ask:
        """Ask for what takes no time of the model's: tokens, texts, rendered requests."""
        path, body = self.random.choice(_TOKENS)
        one: Any = self.words(20)
        chat = [{"role": "user", "content": one}]
        filling = {"ONE": one, "CHAT": chat, "IDS": self.ids()}
        return Ask(path, {name: filling.get(str(value), value) for name, value in body.items()})

    def rare(self) -> Ask:
        """Ask for what few ask for."""
        chat = [{"role": "user", "content": self.words(8)}]
        if self.random.random() < 0.5:
            body = {"messages": chat, "max_tokens": 4, "return_token_ids": True}
            return Ask("/invocations", body, "choices")
        scored = {"query": "Which of these?", "items": [self.words(4), "slot"], "label_token_ids": [5, 7]}
        return Ask("/generative_scoring", scored)

    def engine(self) -> Ask:
        """Ask for tokens over gRPC."""
        n, stream, limits = self.random.choice((1, 1, 1, 2)), self.random.random() < 0.6, self.limits()
        limits.pop("model", None)
        return Ask(
            f"{calls.ENGINE}Generate", calls.engine(self.ids(), stream=stream, n=n, **limits), "engine", stream, n
        )

    def inference(self) -> Ask:
        """Ask for a text over gRPC."""
        n, stream, limits = self.random.choice((1, 1, 2)), self.random.random() < 0.6, self.limits()
        body = calls.inference(self.words(30), n, limits["max_tokens"], limits.get("model", ""))
        return Ask(f"{calls.INFERENCE}Generate{'Stream' if stream else ''}", body, "inference", stream, n)

    def embedding(self) -> Ask:
        """Ask for a vector over gRPC."""
        return Ask(f"{calls.ENGINE}Embed", calls.embed(self.ids()), "vector")

    def wrong(self) -> Ask:
        """Ask for what cannot be had."""
        path, body = self.random.choice(_WRONG)
        return Ask(path, body)


_POOLING: Final[Sequence[tuple[str, dict[str, Any]]]] = (
    ("/v1/embeddings", {"input": "SOME", "dimensions": 32}),
    ("/v1/embeddings", {"input": "ONE", "encoding_format": "base64"}),
    ("/pooling", {"input": "SOME"}),
    ("/classify", {"input": "SOME"}),
    ("/score", {"text_1": "ONE", "text_2": "SOME"}),
    ("/v1/score", {"text_1": "ONE", "text_2": "ONE"}),
    ("/rerank", {"query": "ONE", "documents": "SOME"}),
    ("/v2/rerank", {"query": "ONE", "documents": "SOME", "model": "base"}),
    ("/v2/embed", {"texts": "SOME", "model": "base", "input_type": "search_document", "embedding_types": ["float"]}),
)
_TOKENS: Final[Sequence[tuple[str, dict[str, Any]]]] = (
    ("/tokenize", {"prompt": "ONE"}),
    ("/tokenize", {"messages": "CHAT"}),
    ("/detokenize", {"tokens": "IDS"}),
    ("/v1/messages/count_tokens", {"model": "base", "messages": "CHAT"}),
    ("/v1/chat/completions/render", {"messages": "CHAT"}),
    ("/v1/completions/render", {"prompt": "ONE"}),
    ("/v1/responses/render", {"input": "ONE"}),
)
_WRONG: Final[Sequence[tuple[str, dict[str, Any]]]] = (
    ("/v1/chat/completions", {"messages": "none"}),
    ("/v1/completions", {"prompt": "x", "max_tokens": -1}),
    ("/v1/completions", {"prompt": "x", "model": "nobody"}),
    ("/v1/completions", {"prompt": [7] * 9000}),
    ("/v1/embeddings", {"input": []}),
    ("/v1/messages", {"model": "base"}),
    ("/v1/nothing", {}),
)
_SHARES: Final[Sequence[tuple[str, Callable[[Mixture], Ask], float]]] = (
    ("chat", Mixture.chat, 30),
    ("completion", Mixture.completion, 20),
    ("response", Mixture.response, 8),
    ("message", Mixture.message, 8),
    ("generate", Mixture.generate, 8),
    ("batch", Mixture.batch, 2),
    ("pooling", Mixture.vectors, 10),
    ("tokens", Mixture.tokens, 8),
    ("engine", Mixture.engine, 10),
    ("inference", Mixture.inference, 6),
    ("embedding", Mixture.embedding, 2),
    ("rare", Mixture.rare, 2),
    ("wrong", Mixture.wrong, 2),
)
_KINDS: Final = [(kind, make) for kind, make, _ in _SHARES]
_WEIGHTS: Final = [weight for *_, weight in _SHARES]
