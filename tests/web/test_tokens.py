"""``/tokenize`` and ``/detokenize``."""

from tests.harness import RankTestCase


class TokenTests(RankTestCase):
    """There and back."""

    def setUp(self) -> None:
        """Serve a rank."""
        self.make_rank("--max-model-len", "2048")

    def test_text(self) -> None:
        """A text becomes ids, however long it is, and they become the text again."""
        text = "  Grüße an `alle` | 漢字 🙂\n" * 300
        answer = self.post("/tokenize", {"prompt": text, "return_token_strs": True}).json()
        self.assertEqual((len(answer["tokens"]), 2048), (answer["count"], answer["max_model_len"]))
        self.assertGreater(answer["count"], 2048)
        self.assertEqual(text, "".join(answer["token_strs"]))
        self.assertEqual(text, self.post("/detokenize", {"tokens": answer["tokens"]}).json()["prompt"])

    def test_conversation(self) -> None:
        """Messages are counted as the chat template renders them."""
        answer = self.post("/tokenize", {"messages": [{"role": "user", "content": "This is a test."}]}).json()
        self.assertEqual((10, None), (answer["count"], answer["token_strs"]))

    def test_unknown_ids(self) -> None:
        """Ids that mean nothing are no text."""
        self.assertEqual({"prompt": ""}, self.post("/detokenize", {"tokens": [10**30]}).json())

    def test_errors(self) -> None:
        """Errors have the shape of the API."""
        self.assertEqual(404, self.post("/tokenize", {"prompt": "a", "model": "x"}).json()["error"]["code"])
        self.assertEqual(400, self.post("/detokenize", {"tokens": "x"}).status)
        messages = [{"role": "user", "content": "a"}]
        both = {"messages": messages, "continue_final_message": True}
        for body, said in (({"messages": []}, "empty conversation"), (both, "Cannot set both")):
            exchange = self.post("/tokenize", body)
            self.assertEqual(400, exchange.status)
            self.assertIn(said, exchange.json()["error"]["message"])
        self.assertEqual(200, self.post("/tokenize", {"prompt": None, "messages": messages}).status)
