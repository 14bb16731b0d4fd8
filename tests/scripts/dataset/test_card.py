"""The page, and the summary."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim.scripts.dataset.card import Facts

FACTS = Facts(
    name="chats",
    table="llmd",
    index=True,
    source="a|b.json",
    answers="the input's own",
    tokenizer="WordTokenizer",
    records=5,
    chats=3,
    tokens=123,
    longest=40,
    skipped={"an empty answer": 1, "an answer that calls tools": 2},
)


class CardTests(SynchronousTestCase):
    """What a page tells."""

    def test_facts(self) -> None:
        """The page says what the database has and how it is served."""
        card = FACTS.card()
        for row in (
            "# chats",
            "| records | 5 |",
            "| of completions | 2 |",
            "| tokens of all answers | 123 |",
            "| prompts | a\\|b.json |",
            "    vllmsim --dataset-path chats.sqlite3 --dataset-table-name llmd",
            "A table `llmd` with an index of `prompt_hash` and `n_gen_tokens`:",
            '| `gen_tokens` | JSON | the answer: `{"Tokens": [ids], "Strings": [texts]}` |',
        ):
            self.assertIn(row, card.splitlines())
        other = evolve(FACTS, index=False, table="it's").card()
        self.assertIn("A table `it's`:\n", other)
        self.assertIn("""--dataset-table-name 'it'"'"'s'""", other)

    def test_summary(self) -> None:
        """The summary says what was made, what was not and why, how large it is and how long it took."""
        folder = make_folder(self)
        path = folder / "a"
        path.write_bytes(b"x" * 1_234_567)
        small = folder / "b"
        small.write_bytes(b"x" * 12)
        lines = [*FACTS.summary({".a": path, ".b": small}, 2.0)]
        expected = [
            "5 records: 3 of conversations, 2 of completions",
            "123 tokens of answers, at most 40 each; token ids: WordTokenizer",
            "skipped: an answer that calls tools, 2 times",
            "skipped: an empty answer, 1 time",
            f"{path}  1.23 MB",
            f"{small}  12 bytes",
            "2.0 s, 2 records/s",
        ]
        self.assertEqual(expected, lines)
