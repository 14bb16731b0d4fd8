"""Invented log probabilities."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.logprobs import Shower, logprob
from vllmsim.inference import Answer, TextPrompt, TokenizedPrompt

ANSWER = Answer([1, 2], ["4", "é"], ["4", "é"], "length")


class ValueTests(SynchronousTestCase):
    """The numbers of llm-d-inference-sim."""

    def test_positions(self) -> None:
        """A token's value depends on its position modulo three; alternatives have half less each."""
        self.assertEqual([-1.0, -1.1, -1.2, -1.0, -1.1], [logprob(p, 0) for p in range(5)])
        self.assertEqual([-1.5, -2.0, -2.5], [logprob(0, rank) for rank in (1, 2, 3)])
        self.assertEqual([-1.6, -2.1], [logprob(1, rank) for rank in (1, 2)])
        self.assertEqual(-6.0, logprob(0, 10))


class ShowerTests(SynchronousTestCase):
    """The shapes of vLLM."""

    def test_chat(self) -> None:
        """A chat entry has the token, its bytes, and as many alternatives as asked, itself first."""
        [entry] = Shower(2, as_ids=False).chat(ANSWER, 0, 1)["content"]
        self.assertEqual(("4", -1.0, [52]), (entry["token"], entry["logprob"], entry["bytes"]))
        self.assertEqual(["4", "4_1"], [each["token"] for each in entry["top_logprobs"]])
        [entry] = Shower(0, as_ids=False).chat(ANSWER, 1, 2)["content"]
        self.assertEqual(([195, 169], []), (entry["bytes"], entry["top_logprobs"]))

    def test_by_id(self) -> None:
        """A generate response's entry has ids and ranks, and no texts."""
        entry, _ = Shower(2, as_ids=False).by_id(ANSWER, 0, 2)["content"]
        self.assertEqual((1, -1.0, 1), (entry["token_id"], entry["logprob"], entry["rank"]))
        self.assertEqual([(1, 1), (2, 2)], [(each["token_id"], each["rank"]) for each in entry["top_logprobs"]])
        [entry] = Shower(0, as_ids=False).by_id(ANSWER, 1, 2)["content"]
        self.assertEqual([], entry["top_logprobs"])

    def test_text(self) -> None:
        """A completion's lists go on from the offset before."""
        shown, offset = Shower(1, as_ids=True).text([(0, 1, "ab"), (1, 2, "c")], 5)
        self.assertEqual(([5, 7], ["token_id:1", "token_id:2"], 8), (shown["text_offset"], shown["tokens"], offset))
        self.assertEqual([{"token_id:1": -1.0}, {"token_id:2": -1.1}], shown["top_logprobs"])

    def test_first_of_a_prompt(self) -> None:
        """The first token of a prompt has no probability."""
        shown, _ = Shower(1, as_ids=False).text([(None, 1, "ab"), (1, 2, "c")], 0)
        self.assertEqual(([None, -1.1], ["ab", "c"]), (shown["token_logprobs"], shown["tokens"]))
        self.assertEqual([None, {"c": -1.1}], shown["top_logprobs"])

    def test_ids(self) -> None:
        """Alternatives that are shown as ids are ids too."""
        [entry] = Shower(3, as_ids=True).chat(ANSWER, 0, 1)["content"]
        self.assertEqual(["token_id:1", "token_id:2", "token_id:3"], [each["token"] for each in entry["top_logprobs"]])

    def test_everything(self) -> None:
        """All of the vocabulary is a bounded number of alternatives, and so is any number."""
        for count in (-1, 10**15):
            self.assertEqual(128, len(Shower(count, as_ids=False).chat(ANSWER, 0, 1)["content"][0]["top_logprobs"]))

    def test_prompt(self) -> None:
        """A prompt's entries are by id, with rank and text; the first token has none."""
        prompt = TokenizedPrompt(TextPrompt("ab"), "ab", [5, 9], ["a", "b"])
        expected = {
            "9": {"logprob": -1.1, "rank": 1, "decoded_token": "b"},
            "10": {"logprob": -1.6, "rank": 2, "decoded_token": "b_1"},
        }
        self.assertEqual([None, expected], Shower(2, as_ids=False).prompt(prompt))
