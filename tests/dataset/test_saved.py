"""Answers from datasets."""

import json
import random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.dataset.making import DatasetTestCase, Row, ids_of, prompt_of, row_of
from tests.fakes import FixedSource, RecordingMetrics, in_thread
from vllmsim.dataset.conversations import Conversations
from vllmsim.dataset.lookups import Lookups
from vllmsim.dataset.records import hash_ids
from vllmsim.dataset.saved import SavedAnswers
from vllmsim.inference import Extent, Tokens
from vllmsim.interfaces import IResponseSource
from vllmsim.tokenization.words import WordTokenizer


class SavedAnswersTests(DatasetTestCase):
    """What is said."""

    def setUp(self) -> None:
        """Have sentences, a tokenizer and metrics."""
        super().setUp()
        self.sentences = FixedSource(["All ", "the ", "rest ", "is ", "silence. "])
        self.tokenizer = WordTokenizer(in_thread)
        self.metrics = RecordingMetrics()

    def use(self, *rows: Row) -> None:
        """Have a dataset for every model but one, which has none."""
        self.database(rows)
        used = Conversations("d", str(self.path), "llmd", False, Clock(), Lookups(in_thread), in_thread)
        used.open()
        self.addCleanup(used.close)
        self.source = SavedAnswers({"m": used}, None, self.sentences, self.tokenizer, self.metrics)

    def say(self, text: str = "hi", least: int = 0, most: int = 9, model: str = "m", seed: int = 1) -> Tokens:
        """Ask for an answer."""
        said: Deferred[Tokens] = Deferred.fromCoroutine(
            self.source.respond(prompt_of(text), model, Extent(least, most, explicit=False), random.Random(seed))
        )
        return self.successResultOf(said)

    def test_provides(self) -> None:
        """It is a response source."""
        self.use()
        verifyObject(IResponseSource, self.source)

    def test_as_it_is(self) -> None:
        """A row's tokens are said as they are, whatever the tokenizer thinks of them; metrics hear of it."""
        self.use(row_of("hi", "Hello ", "you", "!"))
        self.assertEqual(Tokens([100, 101, 102], ["Hello ", "you", "!"]), self.say())
        self.say("other")
        self.assertEqual([("dataset", "d", "hit", None), ("dataset", "d", "miss", None)], self.metrics.heard)

    def test_cut(self) -> None:
        """What is too long is cut."""
        self.use(row_of("hi", "Hello ", "you", "!"))
        self.assertEqual(Tokens([100, 101], ["Hello ", "you"]), self.say(most=2))

    def test_padded(self) -> None:
        """What is too short goes on with sentences, to as many tokens as there must be."""
        self.use(row_of("hi", "Hello. "))
        self.assertEqual(["Hello. ", "All ", "the ", "rest "], list(self.say(least=4).texts))
        self.assertEqual(["Hello. ", "All ", "the "], list(self.say("other", least=3, most=3).texts))
        self.assertEqual([Extent(3, 3, explicit=True), Extent(2, 2, explicit=True)], self.sentences.asked)

    def test_ids_alone(self) -> None:
        """Where texts are missing they are what the tokenizer has for the ids, or nothing."""
        [known] = ids_of("known")
        self.successResultOf(self.tokenizer.encode("known", 9))
        self.use((hash_ids(ids_of("hi")), json.dumps({"Tokens": [known, 7, known]}), 3))
        said = self.say()
        self.assertEqual(([known, 7, known], ["known", "", "known"]), (list(said.ids), list(said.texts)))
        self.assertEqual(2, len(self.say(most=2)))

    def test_texts_alone(self) -> None:
        """Where ids are missing the text is cut into tokens anew."""
        self.use((hash_ids(ids_of("hi")), json.dumps(["He", "llo w", "orld!"]), 3))
        self.assertEqual(["Hello ", "world", "!"], list(self.say().texts))
        self.assertEqual(ids_of("Hello world!"), list(self.say().ids))
        self.assertEqual(["Hello "], list(self.say(most=1).texts))

    def test_no_text(self) -> None:
        """A row that says nothing at all is no answer."""
        self.use((hash_ids(ids_of("hi")), '["",""]', 2))
        self.assertEqual("All the ", "".join(self.say(most=2).texts))

    def test_other_models(self) -> None:
        """Models without a dataset say sentences, and nothing is looked up."""
        self.use(row_of("hi", "Hello"))
        self.assertEqual("All the ", "".join(self.say(most=2, model="n").texts))
        self.assertEqual([], self.metrics.heard)

    def test_fallback(self) -> None:
        """Where there is no answer to be had, sentences are said as if there were no dataset."""
        self.use(row_of("hi", "Hello"))
        self.path.unlink()
        self.assertEqual("All the ", "".join(self.say(most=2).texts))
        self.assertEqual([("dataset", "d", "fallback", "broken")], self.metrics.heard)
        self.assertEqual([Extent(0, 2, explicit=False)], self.sentences.asked)

    def test_reproducible(self) -> None:
        """Equal generators say the same."""
        self.use(*[row_of("hi", *map(str, range(length))) for length in range(1, 9)])
        for seed in range(20):
            self.assertEqual(self.say(seed=seed), self.say(seed=seed))
        self.assertEqual(8, len({len(self.say(seed=seed)) for seed in range(100)}))
