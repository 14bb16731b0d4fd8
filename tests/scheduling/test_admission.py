"""What a request must satisfy before it may wait."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.errors import InferenceError, InvalidRequest
from vllmsim.inference import Conversation, Cut, Message, TextPrompt, TokenizedPrompt, TokenPrompt
from vllmsim.sampling import Sampling
from vllmsim.scheduling.admission import Admission
from vllmsim.tokenization.words import WordTokenizer


class AdmissionTests(SynchronousTestCase):
    """Prompts are tokenized and limits are checked as in vLLM."""

    def setUp(self) -> None:
        """Admit to a context of ten tokens."""
        self.tokenizer = WordTokenizer(in_thread)
        self.clock = Clock()
        self.admission = Admission(self.clock, self.tokenizer, 10, 20)

    def read(self, prompt: Any, cut: Cut | None = None) -> TokenizedPrompt:
        """Read a prompt."""
        tokenized: list[TokenizedPrompt] = self.successResultOf(self.admission.read([prompt], cut))
        return tokenized[0]

    def refusal(self, prompt: Any, cut: Cut | None = None) -> InferenceError:
        """Find out why a prompt is refused."""
        error = self.failureResultOf(self.admission.read([prompt], cut), InvalidRequest).value
        assert isinstance(error, InferenceError)
        return error

    def bound(self, tokens: int, **sampling: Any) -> Sampling:
        """Bound the answer to a prompt of so many tokens."""
        prompt = TokenizedPrompt(TextPrompt(""), "", list(range(tokens)), [""] * tokens)
        return self.admission.bound(prompt, Sampling(**sampling))

    def test_cut(self) -> None:
        """A prompt is shortened to so many tokens, or to the context, before its length is checked."""
        text, ids = TextPrompt("a b c d e f g h i j k l"), TokenPrompt(tuple(range(12)))
        self.assertEqual("k l", self.read(text, Cut(2, "left")).text)
        self.assertEqual("a b ", self.read(text, Cut(2)).text)
        self.assertEqual(list(range(2, 12)), list(self.read(ids, Cut(-1, "left")).ids))
        self.assertEqual("truncate_prompt_tokens", self.refusal(text, Cut(11)).param)

    def test_nothing(self) -> None:
        """A prompt of which the tokenizer makes nothing is refused, in vLLM's words."""
        error = self.assertRaises(InvalidRequest, self.bound, 0)
        self.assertEqual("The decoder prompt cannot be empty", error.message)

    def test_text(self) -> None:
        """A text becomes its tokens."""
        prompt = self.read(TextPrompt("Hello world!"))
        self.assertEqual([2871118705, 933488787, 604802540], list(prompt.ids))
        self.assertEqual(("Hello world!", ["Hello ", "world", "!"]), (prompt.text, list(prompt.texts)))

    def test_conversation(self) -> None:
        """A conversation goes through the chat template."""
        prompt = self.read(Conversation((Message("user", "hi"),)))
        self.assertEqual("### user: hi\n", prompt.text)

    def test_ids(self) -> None:
        """Ids are taken as they are, with the texts that are known."""
        self.read(TextPrompt("world"))
        prompt = self.read(TokenPrompt((933488787, 5)))
        self.assertEqual(("world", ["world", ""]), (prompt.text, list(prompt.texts)))

    def test_ids_out_of_vocabulary(self) -> None:
        """An id that cannot be is refused."""
        for token in (-1, 2**32):
            self.assertEqual(f"Token id {token} is out of vocabulary", self.refusal(TokenPrompt((token,))).message)

    def test_too_long(self) -> None:
        """A prompt beyond the context is refused; only ids are counted to their end."""
        text = self.refusal(TextPrompt("a " * 50))
        self.assertIn("contains at least 11 input tokens", text.message)
        self.assertTrue(text.message.endswith("(parameter=input_tokens, value=11)"))
        self.assertIn("contains 30 input tokens", self.refusal(TokenPrompt(tuple(range(30)))).message)
        self.assertIn("contains at least 11 input tokens", self.refusal(TokenPrompt(tuple(range(11)))).message)

    def test_limit(self) -> None:
        """The limit is the request's, as far as the context goes; without one the context is the limit."""
        self.assertEqual(6, self.bound(4).max_tokens)
        self.assertEqual(3, self.bound(4, max_tokens=3).max_tokens)
        self.assertEqual(6, self.bound(4, max_tokens=10).max_tokens)

    def test_limit_out_of_range(self) -> None:
        """A limit below 1 or above the context is refused; so is a prompt that leaves no room."""
        for tokens, limit, said in (
            (4, 0, "got 0."),
            (4, -1, "got -1."),
            (10, None, "got 0."),
            (4, 11, "max_tokens=11 "),
        ):
            error = self.assertRaises(InvalidRequest, self.bound, tokens, max_tokens=limit)
            self.assertIn(said, error.message)
            self.assertEqual("max_tokens", error.param)

    def test_logprobs(self) -> None:
        """No more alternatives are shown than the server allows."""
        error = self.assertRaises(InvalidRequest, self.bound, 1, logprobs=30)
        self.assertEqual(
            "Requested sample logprobs of 30, which is greater than max allowed: 20 (parameter=logprobs, value=30)",
            error.message,
        )
        error = self.assertRaises(InvalidRequest, self.bound, 1, prompt_logprobs=-1)
        self.assertIn("prompt logprobs of 4294967296", error.message)
        self.bound(1, logprobs=20)
        self.admission = Admission(self.clock, self.tokenizer, 10, -1)
        self.bound(1, logprobs=-1)

    def test_choices(self) -> None:
        """No prompt has more choices than the server allows."""
        self.bound(1, n=16_384)
        self.admission = Admission(self.clock, self.tokenizer, 10, 20, max_sequences=2)
        self.bound(1, n=2)
        self.assertIn("n must be at most 2, got 3.", self.assertRaises(InvalidRequest, self.bound, 1, n=3).message)

    def test_chosen_tokens(self) -> None:
        """Tokens whose chance is to change must be tokens, and some must be allowed."""
        error = self.assertRaises(InvalidRequest, self.bound, 1, logit_bias=(1, 2**32))
        self.assertEqual(
            "token_id(s) [4294967296] in logit_bias contain out-of-vocab token ids. Vocabulary size: 4294967296 "
            "(parameter=logit_bias, value=[4294967296])",
            error.message,
        )
        for allowed in ((), (1, -1)):
            error = self.assertRaises(InvalidRequest, self.bound, 1, allowed_token_ids=allowed)
            self.assertEqual("allowed_token_ids", error.param)
        self.bound(1, logit_bias=(1,), allowed_token_ids=(1,))

    def test_many_wrong_tokens(self) -> None:
        """An error names some of the ids that are no tokens, however many there are."""
        for param in ("logit_bias", "allowed_token_ids"):
            error = self.assertRaises(InvalidRequest, self.bound, 1, **{param: tuple(range(-9000, 0))})
            self.assertIn(f"value={list(range(-9000, -8936))})", error.message)

    def test_long_ids(self) -> None:
        """A prompt that is too long is not searched for tokens that are none."""
        self.assertEqual("input_tokens", self.refusal(TokenPrompt((-1,) * 11)).param)

    def test_many_prompts(self) -> None:
        """While many prompts are read, other events come in between."""
        clock = SlowClock()
        self.admission = Admission(clock, self.tokenizer, 10, 20)
        reading = Deferred.fromCoroutine(self.admission.read([TextPrompt("x")] * 20, None))
        self.assertNoResult(reading)
        clock.advance(1)
        self.assertEqual(20, len(self.successResultOf(reading)))
        self.assertEqual(10, clock.turns)


class SlowClock(Clock):
    """A clock that goes on by more than a millisecond whenever it is looked at, and counts calls."""

    turns = 0

    def seconds(self) -> float:
        """Tell the time."""
        self.rightNow += 0.0011
        return self.rightNow

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:  # noqa: A002
        """Count a call."""
        self.turns += 1
        return super().callLater(delay, callable, *args, **kw)
