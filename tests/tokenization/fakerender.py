"""A render service in memory, with a real tokenizer."""

import json
from collections.abc import Iterator
from typing import Any, Literal

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request

from tests.downloading.fakeweb import FakeWeb
from tests.fakes import in_thread
from vllmsim.tokenization.render.routes import RenderRoutes, RenderTimeouts
from vllmsim.tokenization.render.service import RenderService, render_client

HOST = "render.test"
TEXTS = ["Hello world, how are you?", "The queue is short, the cache is cold.", "H\u00e9, w\u00f6rld \u4f60\u597d"] * 3
SPECIAL = ["<s>", "</s>", "<think>", "</think>"]

Kind = Literal["bytes", "blanks", "lossy"]


def tokenizer_of(kind: Kind) -> Tokenizer:
    """Train a tokenizer: one of bytes, one that marks blanks, or one that forgets what the text was."""
    trainer: Any
    if kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=340, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "blanks":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(steps)
        fallback = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(
            vocab_size=340, special_tokens=["<unk>", *SPECIAL, *fallback], show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", *SPECIAL], show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    begin = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    return tokenizer


def body_of(request: Request) -> bytes:
    """Read a request's body."""
    assert request.content is not None
    request.content.seek(0)
    return bytes(request.content.read())


class FakeRender:
    """Answers as a render service does.

    :ivar asked: the path and the body of each question.
    """

    def __init__(self, kind: Kind = "bytes") -> None:
        self.web = FakeWeb()
        self.tokenizer = tokenizer_of(kind)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.web.files = {
            f"{HOST}{path}": self.answer
            for path in (
                "/v1/completions/render",
                "/v1/chat/completions/render",
                "/tokenize",
                "/detokenize",
                "/tokenizer_info",
            )
        }

    def remove(self, *paths: str) -> None:
        """Have no such routes."""
        for path in paths:
            self.web.files[f"{HOST}{path}"] = (404, {})

    def answer(self, request: Request) -> bytes:
        """Answer."""
        path, body = request.path.decode(), json.loads(body_of(request) or b"{}")
        self.asked.append((path, body))
        return json.dumps(getattr(self, "answer_" + path.rpartition("/")[2])(path, body)).encode()

    def text_of(self, body: dict[str, Any]) -> str:
        """Apply the chat template."""
        if "prompt" in body:
            return str(body["prompt"])
        tools = "".join(f"[{tool['function']['name']}]" for tool in body.get("tools") or ())
        return tools + "".join(f"<think>{each['role']}</think>\n{each['content']}" for each in body["messages"])

    def ids_of(self, body: dict[str, Any]) -> list[int]:
        """Cut the text."""
        ids: list[int] = self.tokenizer.encode(self.text_of(body), add_special_tokens=body["add_special_tokens"]).ids
        return ids

    def answer_render(self, path: str, body: dict[str, Any]) -> Any:
        """Render."""
        rendered = {"token_ids": self.ids_of(body), "features": None}
        return rendered if "chat" in path else [rendered]

    def answer_tokenize(self, _path: str, body: dict[str, Any]) -> Any:
        """Tokenize."""
        ids = self.ids_of(body)
        strings = [self.tokenizer.id_to_token(each) for each in ids] if body["return_token_strs"] else None
        return {"count": len(ids), "max_model_len": 100, "tokens": ids, "token_strs": strings}

    def answer_detokenize(self, _path: str, body: dict[str, Any]) -> Any:
        """Detokenize."""
        return {"prompt": self.tokenizer.decode(body["tokens"], skip_special_tokens=False)}

    def answer_tokenizer_info(self, _path: str, _body: dict[str, Any]) -> Any:
        """Tell about the tokenizer."""
        return {"tokenizer_class": "Fake", "eos_token": {"content": "</s>"}}

    def paths(self) -> list[str]:
        """List what was asked for since the last time."""
        paths = [path for path, _ in self.asked]
        self.asked.clear()
        return paths


class RenderTestCase(SynchronousTestCase):
    """Tests with a render service."""

    kind: Kind = "bytes"

    def setUp(self) -> None:
        """Make it."""
        self.render = FakeRender(self.kind)
        self.clock = Clock()
        client = render_client(self.render.web.agent)
        self.service = RenderService(self.clock, client, f"http://{HOST}", in_thread)
        self.routes = RenderRoutes(self.service, "m", RenderTimeouts(text=30.0, media=60.0))

    def finish(self, work: Any) -> Deferred[Any]:
        """Start a coroutine and let bytes pass."""
        done: Deferred[Any] = Deferred.fromCoroutine(work)
        self.flush(done)
        return done

    def flush(self, done: Deferred[Any]) -> None:
        """Let bytes pass until something is done, or nothing goes on."""
        for _ in range(200):
            if done.called:
                break
            self.render.web.agent.flush()

    def result(self, work: Any) -> Any:
        """Do something, and leave no timers."""
        value = self.successResultOf(self.finish(work))
        self.assertEqual([], self.clock.getDelayedCalls())
        return value


def strings(count: int) -> Iterator[str]:
    """List texts in several scripts."""
    for number in range(count):
        yield TEXTS[number % len(TEXTS)] + f" {number} \U0001f600\n  x"
