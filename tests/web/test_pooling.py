"""The routes that pool."""

import base64
import json
import math
import struct
from operator import mul
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.fakes import in_thread
from tests.harness import Exchange, RankTestCase
from vllmsim.api.pooling.inputs import Reply
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import ConfigurationError
from vllmsim.rank import build_rank

ROUTES: dict[str, Any] = {
    "/v1/embeddings": {"input": "a cat"},
    "/v2/embed": {"texts": ["a cat"]},
    "/pooling": {"input": "a cat"},
    "/classify": {"input": "a cat"},
    "/score": {"data_1": "a cat", "data_2": "a dog"},
    "/v1/score": {"data_1": "a cat", "data_2": "a dog"},
    "/rerank": {"query": "a cat", "documents": ["a dog"]},
    "/v1/rerank": {"query": "a cat", "documents": ["a dog"]},
    "/v2/rerank": {"query": "a cat", "documents": ["a dog"]},
}
"""A request for each route."""
GENERATING = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/messages/count_tokens")
CONTEXT = (
    "This model's maximum context length is 256 tokens. However, your prompt contains at least 257 input tokens, which "
    "exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
    "(parameter=input_tokens, value=257)"
)


MODEL = "Qwen/Qwen3-0.6B"
EMPTY: list[Any] = ["", [""], [[]], ["a", ""]]
NONSENSE: list[Any] = [None, -1, 10**30, 1.5, "x" * 1000, [], [[]], [{}], {}, {"content": [1]}, True, "\ud800"]


class AnswerTests(RankTestCase):
    """What each route answers."""

    def setUp(self) -> None:
        """Serve a rank."""
        self.make_rank("--served-model-name", "m1", "m2", "--default-embedding-dimensions", "64")

    def embed(self, value: Any, **fields: Any) -> list[Any]:
        """Ask for embeddings."""
        exchange = self.post("/v1/embeddings", {"input": value, **fields})
        self.assertEqual(200, exchange.status, exchange.body)
        return [entry["embedding"] for entry in exchange.json()["data"]]

    def test_embeddings(self) -> None:
        """Vectors have the server's length or the request's, and length one; tokens are counted."""
        answer = self.post("/v1/embeddings", {"input": ["Hello world!", "Hi"], "model": "m2"}).json()
        self.assertEqual(["id", "object", "created", "model", "data", "usage"], list(answer))
        self.assertEqual(
            ("m1", 4, 4), (answer["model"], answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"])
        )
        self.assertEqual([64, 64], [len(entry["embedding"]) for entry in answer["data"]])
        for dimensions in (1, 3, 1536, 65536):
            [vector] = self.embed("Hello world!", dimensions=dimensions)
            self.assertEqual(dimensions, len(vector))
            self.assertApproximates(1.0, math.sqrt(sum(map(mul, vector, vector))), 1e-6)

    def test_base64(self) -> None:
        """In base 64 there are the same numbers."""
        [vector], [text] = self.embed("a cat"), self.embed("a cat", encoding_format="base64", endianness="little")
        self.assertEqual(vector, list(struct.unpack("<64f", base64.b64decode(text))))

    def test_bytes(self) -> None:
        """Raw bytes come with a header that describes them."""
        exchange = self.post("/v1/embeddings", {"input": ["a", "b"], "encoding_format": "bytes"})
        self.assertEqual(("application/octet-stream", 512), (exchange.headers["content-type"], len(exchange.body)))
        self.assertEqual(256, json.loads(exchange.headers["metadata"])["data"][1]["start"])

    def test_conversation(self) -> None:
        """A conversation is embedded as the chat template renders it."""
        answer = self.post("/v1/embeddings", {"messages": [{"role": "user", "content": "This is a test."}]}).json()
        self.assertEqual((1, 10), (len(answer["data"]), answer["usage"]["prompt_tokens"]))
        self.assertEqual([answer["data"][0]["embedding"]], self.embed("### user: This is a test.\n"))

    def test_truncation(self) -> None:
        """An input that is cut is embedded as what is left of it."""
        self.assertEqual(self.embed("b c"), self.embed("a b c", truncate_prompt_tokens=2, truncation_side="left"))
        answer = self.post("/v1/embeddings", {"input": "a " * 3000, "truncate_prompt_tokens": -1}).json()
        self.assertEqual(1024, answer["usage"]["prompt_tokens"])

    def test_classify(self) -> None:
        """Probabilities add up to one, and the same text has the same."""
        first, second = (self.post("/classify", {"input": ["good", "bad"]}).json()["data"] for _ in range(2))
        self.assertEqual(first, second)
        for entry in first:
            self.assertApproximates(1.0, sum(entry["probs"]), 1e-9)
            self.assertEqual(f"LABEL_{entry['probs'].index(max(entry['probs']))}", entry["label"])

    def test_pooling(self) -> None:
        """Each task has its own form of numbers."""
        for task, shape in (("embed", [64]), ("classify", [2]), ("token_embed", [3, 64]), ("token_classify", [3, 2])):
            [entry] = self.post("/pooling", {"input": "a b c", "task": task}).json()["data"]
            data = entry["data"]
            self.assertEqual(shape, [len(data), len(data[0])] if isinstance(data[0], list) else [len(data)])

    def test_rerank(self) -> None:
        """Documents that share words with the query come first."""
        documents = ["Revenue rose.", "The cat sat on a mat.", "A dog barked.", "Where is the cat?"]
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            answer = self.post(path, {"query": "the cat", "documents": documents, "top_n": 2}).json()
            self.assertEqual([3, 1], [each["index"] for each in answer["results"]])
        answer = self.post("/score", {"queries": "the cat", "documents": documents}).json()
        scores = [each["score"] for each in answer["data"]]
        self.assertEqual([True, True, True], [scores[0] == 0, scores[2] == 0, scores[3] > scores[1] > 0])

    def test_cohere(self) -> None:
        """Cohere's clients have the same vectors."""
        answer = self.post("/v2/embed", {"texts": ["a cat"], "input_type": "search_query"}).json()
        self.assertEqual(self.embed("a cat"), answer["embeddings"]["float"])

    def test_same_elsewhere(self) -> None:
        """Another server, with another seed and another history, makes the same vectors and scores."""
        first = [self.post(path, body).json() for path, body in ROUTES.items()]
        ids = self.embed([[933488787]])
        self.make_rank("--served-model-name", "m1", "--default-embedding-dimensions", "64", "--seed", "8")
        self.post("/tokenize", {"prompt": "world"})
        self.assertEqual(ids, self.embed([[933488787]]))
        for (path, body), before in zip(ROUTES.items(), first, strict=True):
            after = self.post(path, body).json()
            self.assertEqual({**before, "id": 0, "created": 0}, {**after, "id": 0, "created": 0})

    def test_request_ids(self) -> None:
        """The client's id is part of the answer's."""
        prefixes = {"/pooling": "pooling", "/classify": "classify", "/v1/embeddings": "embd", "/v2/embed": "embd"}
        for path, body in ROUTES.items():
            answer = self.post(path, body, X_Request_Id="abc").json()
            self.assertEqual(f"{prefixes.get(path, 'score')}-abc", answer["id"])

    def test_metrics(self) -> None:
        """What generates counts nothing of it; what counts HTTP requests does."""
        for path, body in ROUTES.items():
            self.assertEqual(200, self.post(path, body).status)
            self.assertEqual(1.0, self.sample(f'http_requests_total{{handler="{path}",method="POST",status="2xx"}}'))
        for name in ("prompt_tokens_total", "generation_tokens_total", "request_success_total", "num_requests_running"):
            body = self.get("/metrics").body.decode()
            values = {line.rpartition(" ")[2] for line in body.splitlines() if line.startswith(f"vllm:{name}{{")}
            self.assertEqual({"0.0"}, values, name)


class ErrorTests(RankTestCase):
    """Requests that are refused."""

    def setUp(self) -> None:
        """Serve a rank with a small context."""
        self.make_rank("--model", "/models/m1", "--served-model-name", "m1", "m2", "--max-model-len", "256")

    def error(self, path: str, body: Any) -> tuple[int, str, str | None, str]:
        """Find out why a body is refused: status, type, parameter and message."""
        exchange = self.post(path, body)
        self.assertEqual("application/json", exchange.headers["content-type"])
        error = exchange.json()["error"]
        self.assertEqual((exchange.status, ["message", "type", "param", "code"]), (error["code"], list(error)))
        return exchange.status, error["type"], error["param"], error["message"]

    def test_model(self) -> None:
        """A model that is not served is 404 in the words of these routes."""
        for path, body in ROUTES.items():
            expected = (404, "NotFoundError", None, "The model `zz` does not exist.")
            self.assertEqual(expected, self.error(path, {**body, "model": "zz"}))

    def test_bodies(self) -> None:
        """What is no JSON object is refused everywhere."""
        for path in ROUTES:
            for body, param in ((b"", "body"), (b"[1]", "body"), (b'{"a":', "body.5")):
                self.assertEqual((400, "Bad Request", param), self.error(path, body)[:3])
            self.assertEqual(400, self.connect().send("POST", path, b"{}", Content_Type="text/plain").status)
            self.assertEqual(405, self.get(path).status)

    def test_types(self) -> None:
        """Wrong types are named as everywhere."""
        for path, body in ROUTES.items():
            self.assertEqual((400, "Bad Request", "body.priority"), self.error(path, {**body, "priority": "high"})[:3])
            self.assertEqual((400, "Bad Request", "body.model"), self.error(path, {**body, "model": 1})[:3])

    def test_too_long(self) -> None:
        """An input beyond the context is refused everywhere but where it is cut."""
        long = "a " * 300
        bodies = {
            "/v1/embeddings": {"input": ["a", long]},
            "/v2/embed": {"texts": [long], "truncate": "NONE"},
            "/pooling": {"input": long, "task": "token_embed"},
            "/classify": {"messages": [{"role": "user", "content": long}]},
            "/score": {"data_1": "a", "data_2": long},
            "/rerank": {"query": long, "documents": ["a"]},
        }
        for path, body in bodies.items():
            self.assertEqual((400, "BadRequestError", "input_tokens", CONTEXT), self.error(path, body))
        self.assertEqual(200, self.post("/v2/embed", {"texts": [long]}).status)

    def test_empty(self) -> None:
        """An input without tokens is refused; a text to be scored may be empty."""
        for path in ("/v1/embeddings", "/pooling", "/classify"):
            for value in EMPTY:
                expected = (400, "BadRequestError", None, "The decoder prompt cannot be empty")
                self.assertEqual(expected, self.error(path, {"input": value}))
            self.assertEqual("You must pass at least one prompt", self.error(path, {"input": []})[3])
        self.assertEqual(200, self.post("/rerank", {"query": "", "documents": ["", "a"]}).status)

    def test_ids(self) -> None:
        """Ids that are none are refused, and those beyond 64 bits too."""
        self.assertIn("out of vocabulary", self.error("/v1/embeddings", {"input": [-1]})[3])
        self.assertIn("out of vocabulary", self.error("/v1/embeddings", {"input": [[10**30]]})[3])

    def test_blind(self) -> None:
        """A model that cannot see is given no images."""
        self.make_rank("--model", "m1", "--language-model-only")
        block = {"type": "image_url", "image_url": {"url": "http://x/c.png"}}
        for path, body, said in (
            ("/v1/embeddings", {"messages": [{"role": "user", "content": [block]}]}, "m1 is not a multimodal model"),
            ("/v2/embed", {"images": ["http://x/c.png"]}, "m1 is not a multimodal model"),
            ("/score", {"queries": "a", "items": {"content": [block]}}, "MultiModalParam is not supported for m1"),
        ):
            self.assertEqual((400, "BadRequestError", None, said), self.error(path, body))

    def test_too_much(self) -> None:
        """What would be too much work or too long an answer is refused."""
        for body in (
            {"input": "a", "dimensions": 10**15},
            {"input": ["a"] * 65, "dimensions": 65536},
            {"input": ["a"] * 2049},
            {"input": "a", "truncate_prompt_tokens": 10**15},
        ):
            self.assertEqual((400, "BadRequestError"), self.error("/v1/embeddings", body)[:2])
        self.make_rank("--default-embedding-dimensions", "65536")
        self.assertIn("numbers", self.error("/pooling", {"input": "a " * 65, "task": "token_embed"})[3])

    def test_still_serving(self) -> None:
        """After nonsense of all kinds the next request is served."""
        for path, body in ROUTES.items():
            for name in (*body, "dimensions", "truncate_prompt_tokens", "top_n", "max_tokens_per_doc", "max_tokens"):
                for value in NONSENSE:
                    status = self.post(path, {**body, name: value}).status
                    self.assertTrue(200 <= status < 500, (path, name, value, status))
            self.assertEqual(200, self.post(path, body).status)


class RunnerTests(RankTestCase):
    """Which routes there are."""

    def statuses(self, *words: str) -> tuple[set[int], set[int]]:
        """Serve a rank; tell how routes that pool and routes that generate answer."""
        self.make_rank(*words)
        prompt = {"prompt": "a", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3, "model": MODEL}
        pooling = {self.post(path, body).status for path, body in ROUTES.items()}
        return pooling, {self.post(path, prompt).status for path in GENERATING}

    def test_auto(self) -> None:
        """By default there are all."""
        self.assertEqual(({200}, {200}), self.statuses())
        self.assertEqual(({200}, {200}), self.statuses("--runner", "auto"))

    def test_generate(self) -> None:
        """A server that generates does not pool, nor does one that drafts."""
        for runner in ("generate", "draft"):
            self.assertEqual(({404}, {200}), self.statuses("--runner", runner))
        self.assertEqual({"detail": "Not Found"}, self.post("/v1/embeddings", {"input": "a"}).json())

    def test_pooling(self) -> None:
        """A server that pools does not generate, and has everything else."""
        self.assertEqual(({200}, {404}), self.statuses("--runner", "pooling"))
        self.assertEqual({"detail": "Not Found"}, self.chat().json())
        for path in ("/health", "/v1/models", "/metrics"):
            self.assertEqual(200, self.get(path).status)
        self.assertEqual(200, self.post("/tokenize", {"prompt": "a"}).status)

    def test_encoder(self) -> None:
        """A server that only encodes media has no vectors for texts."""
        self.assertEqual({404}, self.statuses("--mm-encoder-only")[0])

    def test_wrong(self) -> None:
        """Another runner is a wrong option."""
        error = self.assertRaises(ConfigurationError, load_words, ("--runner", "walk"), {})
        self.assertIn("runner", str(error))


class TimeTests(RankTestCase):
    """When answers come."""

    def test_latency(self) -> None:
        """An answer takes the time of a prefill, in as many slots as there are."""
        self.make_rank("--prefill-time-per-token", "100ms", "--max-num-seqs", "1")
        first = self.post("/v1/embeddings", {"input": ["a b", "c"]})
        second = self.post("/classify", {"input": "a"})
        seen = []
        for _ in range(5):
            seen.append((first.complete, second.complete))
            self.clock.advance(0.1)
        self.assertEqual([(False, False)] * 3 + [(True, False), (True, True)], seen)

    def test_gone(self) -> None:
        """A client that leaves frees its slot."""
        self.make_rank("--time-to-first-token", "1s", "--max-num-seqs", "1")
        first = self.post("/v1/embeddings", {"input": "a"})
        second = self.post("/v1/embeddings", {"input": "b"})
        self.clock.advance(0.5)
        first.drop()
        self.clock.advance(1)
        self.assertEqual(200, second.status)

    def test_queue(self) -> None:
        """When as many inputs wait as may, the next request is refused."""
        self.make_rank("--time-to-first-token", "1s", "--max-num-seqs", "1", "--max-waiting-queue-length", "1")
        self.post("/v1/embeddings", {"input": ["a", "b"]})
        exchange = self.post("/v1/embeddings", {"input": "c"})
        self.assertEqual((429, "RateLimitError"), (exchange.status, exchange.json()["error"]["type"]))
        self.clock.advance(1)
        self.clock.advance(1)

    def test_pause(self) -> None:
        """While the server is paused, requests are refused; those that are in count as its load."""
        self.make_rank("--time-to-first-token", "1s", "--enable-server-load-tracking")
        first = self.post("/v1/embeddings", {"input": "a"})
        self.assertEqual({"server_load": 1}, self.get("/load").json())
        self.successResultOf(self.rank.control.pause("keep", clear_cache=False))
        error = self.post("/v1/embeddings", {"input": "a"}).json()["error"]
        self.assertEqual((503, "ServiceUnavailableError"), (error["code"], error["type"]))
        self.clock.advance(1)
        self.assertEqual((200, {"server_load": 0}), (first.status, self.get("/load").json()))

    def test_signature(self) -> None:
        """Answers carry the server's name."""
        self.make_rank("--pod-name", "p", "--pod-namespace", "n")
        headers = self.post("/v1/embeddings", {"input": "a"}).headers
        self.assertEqual(("p", "n"), (headers["x-inference-pod"], headers["x-inference-namespace"]))


class ThreadTests(SynchronousTestCase):
    """What is done off the reactor."""

    def calls(self, body: Any) -> list[str]:
        """Serve a request for embeddings, and list what went to a thread."""
        calls: list[str] = []

        def defer(function: Any, *arguments: Any) -> Deferred[Any]:
            calls.append(getattr(function, "__name__", type(function).__name__))
            return in_thread(function, *arguments)

        clock = Clock()
        configuration = load_words(("--max-model-len", "20000"), {}).configuration
        rank = build_rank(LiveConfiguration(configuration), 0, 1, Clocks.same(clock), defer)
        rank.start()
        exchange = Exchange(rank.site)
        exchange.send("POST", "/v1/embeddings", json.dumps(body).encode(), Content_Type="application/json")
        for _ in range(100):
            clock.advance(0)
        self.assertEqual(200, exchange.status)
        exchange.drop()
        rank.lifecycle.drain()
        rank.stop()
        return calls

    def test_one_at_a_time(self) -> None:
        """Long work is done one piece after the other; what a client has given up makes room for the next."""
        running: list[Deferred[Any]] = []

        def start(*_: Any) -> Deferred[Any]:
            running.append(Deferred())
            return running[-1]

        clock = Clock()
        rank = build_rank(LiveConfiguration(load_words((), {}).configuration), 0, 1, Clocks.same(clock), start)
        rank.start()
        exchanges = [Exchange(rank.site) for _ in range(3)]
        for exchange in exchanges:
            body = b'{"input":"a","dimensions":65536}'
            exchange.send("POST", "/v1/embeddings", body, Content_Type="application/json")
            clock.advance(0)
        self.assertEqual(1, len(running))
        exchanges[1].drop()
        running[0].callback(Reply([b"one"]))
        self.assertEqual((b"one", 2), (exchanges[0].body, len(running)))
        running[1].callback(Reply([b"three"]))
        self.assertEqual(b"three", exchanges[2].body)
        exchanges[0].drop()
        exchanges[2].drop()
        rank.lifecycle.drain()
        rank.stop()

    def test_short(self) -> None:
        """A sentence is embedded and answered on the spot."""
        self.assertEqual([], self.calls({"input": "How much is a sentence? " * 4}))

    def test_long_text(self) -> None:
        """A long text is tokenized and embedded in a thread."""
        self.assertEqual(["parse", "_encode", "_embed"], self.calls({"input": "word " * 10_000}))

    def test_long_answer(self) -> None:
        """A long answer is written in a thread."""
        self.assertEqual(["VectorWriter"], self.calls({"input": "a", "dimensions": 65536}))
        self.assertEqual(["VectorWriter"], self.calls({"input": ["a"] * 10}))
