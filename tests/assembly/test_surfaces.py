"""Which routes a rank has."""

from tests.harness import RankTestCase


class SurfaceTests(RankTestCase):
    """What operators open and close."""

    def paths(self, *words: str) -> set[str]:
        """Start a rank and list its paths."""
        self.make_rank(*words)
        return {path for path, _ in self.rank.resource.paths()}

    def test_everything(self) -> None:
        """By default a server generates and pools, and its developers' routes are open."""
        expected = {"/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/rerank", "/sleep"}
        self.assertLess(expected | {"/inference/v1/generate", "/invocations", "/openapi.json"}, self.paths())

    def test_generate(self) -> None:
        """A runner that generates pools nothing."""
        paths = self.paths("--runner", "generate")
        self.assertIn("/v1/completions", paths)
        self.assertEqual(set(), paths & {"/v1/embeddings", "/pooling", "/score", "/v2/rerank"})

    def test_pooling(self) -> None:
        """A runner that pools generates nothing."""
        paths = self.paths("--runner", "pooling")
        self.assertIn("/v1/embeddings", paths)
        self.assertEqual(
            set(), paths & {"/v1/chat/completions", "/v1/responses", "/v1/messages", "/generative_scoring"}
        )

    def test_closed(self) -> None:
        """What the operator has closed is not there."""
        words = ("--no-server-dev-mode", "--disable-fastapi-docs", "--no-enable-tokenizer-info-endpoint")
        paths = self.paths(*words, "--mm-encoder-only")
        closed = {"/sleep", "/server_info", "/openapi.json", "/docs", "/tokenizer_info", "/v1/embeddings"}
        self.assertEqual(set(), paths & closed)
        self.assertIn("/v1/chat/completions", paths)
