"""Token ids that a tokenizer knows, for tests that read them again."""

from attrs import define, field

from tests.fakes import in_thread
from vllmsim.api.scaleout.given import Bounds
from vllmsim.api.scaleout.reading import Words
from vllmsim.tokenization.words import WordTokenizer

BOUNDS = Bounds(20, 2)


@define(eq=False)
class Vocabulary:
    """Makes ids of words, and of the tags ``<think>``, ``</think>``, ``<tool_call>`` and ``</tool_call>``."""

    tokenizer: WordTokenizer = field(factory=lambda: WordTokenizer(in_thread))

    @property
    def eos(self) -> int:
        """The token that ends an answer."""
        return self.tokenizer.eos_id

    @property
    def words(self) -> Words:
        """What reads ids."""
        return Words(self.tokenizer)

    def ids(self, *texts: str) -> list[int]:
        """Number some tokens."""
        return [self.tokenizer.tag(text).ids[0] for text in texts]
