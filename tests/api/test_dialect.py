"""What all dialects make of a request."""

import json
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, settings
from vllmsim.api.batch import BatchDialect
from vllmsim.api.chat import ChatDialect
from vllmsim.api.completions import CompletionDialect
from vllmsim.api.dialect import Dialect
from vllmsim.api.labelscores import LabelScoreDialect
from vllmsim.api.messages.dialect import MessagesDialect
from vllmsim.api.responses.dialect import ResponsesDialect
from vllmsim.api.responses.store import ResponseStore
from vllmsim.api.scaleout.generate import GenerateDialect
from vllmsim.api.scaleout.render import RenderDialect
from vllmsim.api.scaleout.renderers import ChatRenderer, CompletionRenderer, MessagesRenderer, ResponsesRenderer
from vllmsim.inference import InferenceRequest

HI = {"role": "user", "content": "hi"}
DIALECTS: Mapping[str, tuple[Dialect, Mapping[str, Any]]] = {
    "chat": (ChatDialect(settings()), {"messages": [HI]}),
    "batch": (BatchDialect(settings()), {"messages": [[HI], [HI]]}),
    "completions": (CompletionDialect(settings()), {"prompt": "hi"}),
    "responses": (ResponsesDialect(settings(), 64, ResponseStore()), {"input": "hi"}),
    "messages": (MessagesDialect(settings()), {"model": "m1", "max_tokens": 3, "messages": [HI]}),
    "generate": (GenerateDialect(settings(), 64), {"token_ids": [1, 2], "sampling_params": {}}),
}


class CacheTests(SynchronousTestCase):
    """What a request says of the prefix cache."""

    def read(self, name: str, **fields: Any) -> InferenceRequest:
        """Read a request of one dialect."""
        dialect, asked = DIALECTS[name]
        return dialect.parse(json.dumps({**asked, **fields}).encode(), HEAD).request

    def test_salt(self) -> None:
        """Requests of every dialect say with whom they share blocks; without a salt it is everyone without one."""
        for name in DIALECTS:
            self.assertEqual("mine", self.read(name, cache_salt="mine").cache_salt, name)
            self.assertIsNone(self.read(name).cache_salt, name)

    def test_reads(self) -> None:
        """Requests of every dialect are served from the prefix cache."""
        for name in DIALECTS:
            self.assertTrue(self.read(name).reads_cache, name)

    def test_prompt_logprobs(self) -> None:
        """A request for the log probabilities of the prompt is not: they come from computing it."""
        for name in ("chat", "batch", "completions"):
            self.assertFalse(self.read(name, prompt_logprobs=0).reads_cache, name)
        self.assertFalse(self.read("generate", sampling_params={"prompt_logprobs": 1}).reads_cache)
        self.assertFalse(self.read("completions", echo=True, logprobs=1).reads_cache)
        self.assertTrue(self.read("completions", echo=True).reads_cache)
        self.assertTrue(self.read("completions", logprobs=1).reads_cache)

    def test_skip(self) -> None:
        """A generate request may say so itself, and then its word is what counts."""
        for skips in (True, False):
            sampling = {"skip_reading_prefix_cache": skips, "prompt_logprobs": 1}
            self.assertEqual(not skips, self.read("generate", sampling_params=sampling).reads_cache)
        self.assertTrue(self.read("generate", sampling_params={"skip_reading_prefix_cache": None}).reads_cache)

    def test_label_scores(self) -> None:
        """Requests for scores of labels have no salt, and are served from the cache."""
        asked = {"query": "q", "items": [[1]], "label_token_ids": [1]}
        scoring = LabelScoreDialect(settings(), 64, 100).read(json.dumps(asked).encode(), HEAD)
        request = scoring.call([scoring.join([1], [2])]).request
        self.assertEqual((None, True), (request.cache_salt, request.reads_cache))

    def test_rendered(self) -> None:
        """A rendered request says both as the request does that it was made of."""
        renderers: Mapping[str, RenderDialect] = {
            "chat": ChatRenderer(settings()),
            "completions": CompletionRenderer(settings()),
            "messages": MessagesRenderer(settings()),
            "responses": ResponsesRenderer(settings(), 64),
        }
        for name, renderer in renderers.items():
            asked = {**DIALECTS[name][1], "cache_salt": "mine"}
            rendering = renderer.render(json.dumps(asked).encode(), HEAD)
            self.assertEqual(("mine", True), (rendering.request.cache_salt, rendering.request.reads_cache), name)
            self.assertEqual("mine", rendering.details.cache_salt, name)
