"""Where answers end."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Answer, Composition, Part, Tokens
from vllmsim.sampling import Sampling
from vllmsim.scheduling.answer import settle

EOS = 99


def settled(words: list[str], limit: int = 100, **sampling: object) -> Answer:
    """Apply the stop rules to some words, numbered from 1."""
    said = Composition(Tokens(list(range(1, len(words) + 1)), words))
    return settle(said, limit, Sampling(**sampling), EOS, "<end>")  # type: ignore[arg-type]


class SettleTests(SynchronousTestCase):
    """vLLM's stop rules."""

    def test_ends_by_itself(self) -> None:
        """An answer that is shorter than its limit has the ending token, which shows no text and counts."""
        answer = settled(["a", "b"], limit=3)
        self.assertEqual(([1, 2, EOS], ["a", "b", ""], "stop", None), self.parts(answer))
        self.assertEqual(["a", "b", "<end>"], list(answer.texts))

    def test_length(self) -> None:
        """An answer that fills its limit ends with length."""
        self.assertEqual(([1, 2], ["a", "b"], "length", None), self.parts(settled(["a", "b"], limit=2)))

    def test_nothing(self) -> None:
        """An empty answer is the ending token alone."""
        self.assertEqual(([EOS], [""], "stop", None), self.parts(settled([])))

    def parts(self, answer: Answer) -> tuple[object, ...]:
        """Take an answer apart."""
        return list(answer.ids), list(answer.pieces), answer.finish_reason, answer.stop_reason

    def test_stop_text_as_vllm_holds_it_back(self) -> None:
        """The recorded stream of vLLM for the text `ab cd ef` and the stop `cd`: text comes one token late."""
        answer = settled(list("ab cd ef"), stop=("cd",))
        self.assertEqual(([1, 2, 3, 4, 5], ["", "a", "b", " ", ""], "stop", "cd"), self.parts(answer))

    def test_stop_text_not_found(self) -> None:
        """Text that was held back for nothing comes with the last token."""
        self.assertEqual(["", "", "a", "bcd"], list(settled(list("abcd"), limit=4, stop=("xyz",)).pieces))
        self.assertEqual(["", "", "a", "b", "cd"], list(settled(list("abcd"), stop=("xyz",)).pieces))

    def test_ends_before_any_stop(self) -> None:
        """A model that ends by itself before a stop text or a stop token does so with neither, at its limit or not."""
        for stops in ({"stop": ("xyz",)}, {"stop_token_ids": (7,)}):
            answer = settled(["a", "b"], **stops)
            self.assertEqual(([1, 2, EOS], "stop", None), (list(answer.ids), answer.finish_reason, answer.stop_reason))
            answer = settled(["a", "b"], limit=2, **stops)
            self.assertEqual(([1, 2], "length", None), (list(answer.ids), answer.finish_reason, answer.stop_reason))

    def test_stop_text_at_the_beginning(self) -> None:
        """A stop text may be all that is said."""
        for words in (["ab"], ["a", "b"], ["ab", "c"]):
            answer = settled(words, stop=("ab",))
            self.assertEqual(("", "stop", "ab"), (answer.text, answer.finish_reason, answer.stop_reason))

    def test_stop_text_across_tokens(self) -> None:
        """A stop text is found across tokens, and inside one."""
        self.assertEqual("abc", settled(["abc d", "ef g"], stop=(" def",)).text)
        answer = settled(["one two three"], stop=("two",))
        self.assertEqual(("one ", "two"), (answer.text, answer.stop_reason))

    def test_stop_text_kept(self) -> None:
        """A request may keep the stop text; nothing is held back then."""
        answer = settled(["a", "b", "c"], stop=("b",), include_stop_str_in_output=True)
        self.assertEqual(["a", "b"], list(answer.pieces))

    def test_first_stop_in_the_request_wins(self) -> None:
        """Of two stop texts in one token the one that the request names first is reported."""
        self.assertEqual("y", settled(["x y"], stop=("y", "x")).stop_reason)

    def test_stop_token(self) -> None:
        """A stop token ends the answer with its id, counts, and shows no text unless it is kept."""
        self.assertEqual(([1, 2], ["a", ""], "stop", 2), self.parts(settled(["a", "b", "c"], stop_token_ids=(2,))))
        kept = settled(["a", "b"], stop_token_ids=(2,), include_stop_str_in_output=True)
        self.assertEqual(["a", "b"], list(kept.pieces))

    def test_min_tokens(self) -> None:
        """No stop rule ends an answer before it has its least number of tokens."""
        answer = settled(["x", "x", "x"], stop=("x",), min_tokens=2)
        self.assertEqual((3, "xx"), (len(answer), answer.text))
        answer = settled(["a", "x", "b"], stop=("x",), min_tokens=2)
        self.assertEqual(("axb", None), (answer.text, answer.stop_reason))
        answer = settled(["a", "a", "a"], limit=3, stop_token_ids=(1, 3), min_tokens=1)
        self.assertEqual(3, answer.stop_reason)


class PartTests(SynchronousTestCase):
    """The stop rules in answers of several parts: a tag, `ab`, `c`, a tag; then `d`, `e`."""

    WORDS = ("<t>", "ab", "c", "</t>", "d", "e")
    PARTS = (Part("reasoning", 0, 1, 1, 3, 4), Part("text", 4, 4, 4, 6, 6))

    def settled(self, limit: int = 100, **sampling: object) -> Answer:
        """Apply the stop rules."""
        said = Composition(Tokens(range(1, 7), self.WORDS), self.PARTS)
        return settle(said, limit, Sampling(**sampling), EOS, "<end>")  # type: ignore[arg-type]

    def test_ends_by_itself(self) -> None:
        """Tags show nothing; the ending token belongs to the text."""
        answer = self.settled()
        self.assertEqual(["", "ab", "c", "", "d", "e", ""], list(answer.pieces))
        self.assertEqual(
            (7, "de", "abc", 2), (answer.parts[1].stop, answer.text, answer.reasoning, answer.reasoning_tokens)
        )

    def test_limit(self) -> None:
        """The limit cuts parts and leaves out those that do not begin."""
        for limit in range(1, 7):
            answer = self.settled(limit)
            self.assertEqual(("length", limit, limit), (answer.finish_reason, len(answer), answer.parts[-1].stop))
        self.assertEqual([Part("reasoning", 0, 1, 1, 2, 2)], list(self.settled(2).parts))
        self.assertEqual([Part("reasoning", 0, 1, 1, 1, 1)], list(self.settled(1).parts))
        self.assertEqual([Part("reasoning", 0, 1, 1, 3, 4)], list(self.settled(4).parts))

    def test_stop_text(self) -> None:
        """A stop text is found within a part, not across two, and not in tags."""
        answer = self.settled(stop=("e",))
        self.assertEqual(("d", "e", 6), (answer.text, answer.stop_reason, answer.parts[-1].stop))
        for stop in ("cd", "t>", "<end>"):
            self.assertIsNone(self.settled(stop=(stop,)).stop_reason)

    def test_nothing_is_held_back_across_parts(self) -> None:
        """What may begin a stop text is shown at its part's end, not in the next part."""
        answer = self.settled(stop=("bc?????",))
        self.assertEqual(["", "", "abc", "", "", "de", ""], list(answer.pieces))
        self.assertEqual(("abc", "de"), (answer.reasoning, answer.text))

    def test_stop_token(self) -> None:
        """A stop token ends an answer in any part."""
        answer = self.settled(stop_token_ids=(3,))
        self.assertEqual((["", "ab", ""], 3), (list(answer.pieces), answer.stop_reason))
        self.assertEqual([Part("reasoning", 0, 1, 1, 3, 3)], list(answer.parts))
        self.assertEqual([Part("reasoning", 0, 1, 1, 3, 4)], list(self.settled(stop_token_ids=(4,)).parts))

    def test_call(self) -> None:
        """A call counts as one as soon as its name is said."""
        said = Composition(Tokens(range(4), ["<", "f", "{}", ">"]), (Part("call", 0, 1, 2, 3, 4, "f"),))
        for limit, calls in ((1, 0), (2, 1), (9, 1)):
            answer = settle(said, limit, Sampling(), EOS, "<end>")
            self.assertEqual(calls, len(answer.calls))
        self.assertEqual(("{}", ""), (answer.said(answer.calls[0]), answer.text))
