"""Tokenizers of models."""

import threading
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import in_thread
from tests.tokenization import small
from tests.tokenization.sentences import ENGLISH
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Conversation, Message, Template, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import ITokenizer
from vllmsim.tokenization.folder import TokenizerError
from vllmsim.tokenization.huggingface import HuggingFaceTokenizer, load_tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HI = Conversation((Message("user", "hi"),))


class HuggingFaceTestCase(SynchronousTestCase):
    """Tests of one tokenizer."""

    def load(
        self,
        backend: Tokenizer | None = None,
        defer_to_thread: Callable[..., Deferred[Any]] = in_thread,
        options: dict[str, Any] | None = None,
        **config: Any,
    ) -> HuggingFaceTokenizer:
        """Load a tokenizer from a folder."""
        with TemporaryDirectory() as folder:
            small.write_folder(folder, backend or small.bpe(), **{"chat_template": CHATML, **config})
            loaded = load_tokenizer(folder, defer_to_thread, **(options or {}))
        self.addCleanup(lambda: Deferred.fromCoroutine(loaded.close()))
        return loaded

    def encode(self, tokenizer: HuggingFaceTokenizer, text: str, limit: int = 10**9) -> Tokens:
        """Cut a text."""
        tokens: Tokens = self.successResultOf(Deferred.fromCoroutine(tokenizer.encode(text, limit)))
        return tokens

    def read(
        self, tokenizer: HuggingFaceTokenizer, prompt: TextPrompt | Conversation, limit: int = 10**9
    ) -> TokenizedPrompt:
        """Cut a prompt."""
        read: TokenizedPrompt = self.successResultOf(Deferred.fromCoroutine(tokenizer.read(prompt, limit)))
        return read

    def decode(self, tokenizer: HuggingFaceTokenizer, ids: list[int]) -> str:
        """Join tokens."""
        text: str = self.successResultOf(Deferred.fromCoroutine(tokenizer.decode(ids)))
        return text


class EncodingTests(HuggingFaceTestCase):
    """Text to ids."""

    def test_provides(self) -> None:
        """It is a tokenizer."""
        verifyObject(ITokenizer, self.load())

    def test_equal(self) -> None:
        """A thousand texts in twelve scripts have the ids that the package gives them, in two families."""
        texts = small.texts(1000)
        for backend in (small.bpe(), small.unigram()):
            tokenizer = self.load(backend)
            for text in texts:
                self.assertEqual(backend.encode(text, add_special_tokens=False).ids, self.encode(tokenizer, text).ids)
                self.assertEqual(backend.encode(text).ids, self.read(tokenizer, TextPrompt(text)).ids)

    def test_special_tokens(self) -> None:
        """Prompts get the tokens that go around them unless they say otherwise; answers and conversations do not."""
        tokenizer = self.load()
        self.assertEqual(0, self.read(tokenizer, TextPrompt("hi")).ids[0])
        bare = self.encode(tokenizer, "hi").ids
        self.assertEqual(bare, self.read(tokenizer, TextPrompt("hi", special=False)).ids)
        chat = self.read(tokenizer, HI).ids
        self.assertEqual(2, chat[0])
        special = Conversation(HI.messages, Template(special=True))
        self.assertEqual([0, *chat], self.read(tokenizer, special).ids)

    def test_text_that_looks_special(self) -> None:
        """What looks like a special token is one, unless the tokenizer is configured otherwise."""
        self.assertEqual([3], list(self.encode(self.load(), "<|im_end|>").ids))
        self.assertNotIn(3, self.encode(self.load(split_special_tokens=True), "<|im_end|>").ids)

    def test_limit(self) -> None:
        """Only the tokens that are wanted are made, and they are the first ones."""
        tokenizer = self.load()
        text = ENGLISH * 100
        whole = small.bpe().encode(text, add_special_tokens=False).ids
        for limit in (0, 1, 5, 300, len(whole), 10**12):
            tokens = self.encode(tokenizer, text, limit)
            self.assertEqual(whole[:limit], tokens.ids)
            self.assertEqual(len(tokens.ids), len(tokens.texts))

    def test_long_tokens(self) -> None:
        """A text of few tokens is read to its end, however many characters these have."""
        backend = Tokenizer(models.WordPiece({"[UNK]": 0, "</s>": 1, "x": 2}, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = self.load(backend)
        self.assertEqual([0, 2], list(self.encode(tokenizer, "y" * 100_000 + " " * 100_000 + "x", 5).ids))

    def test_hostile_length(self) -> None:
        """Of a text that no context holds no more is read than tells so."""
        given: list[int] = []

        def count(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            return in_thread(function, *arguments)

        tokenizer = self.load(defer_to_thread=count)
        encode = tokenizer._backend.encode_batch_fast
        tokenizer._backend = _Spy(tokenizer._backend, lambda texts: given.append(len(texts[0])), encode)
        self.assertEqual(101, len(self.encode(tokenizer, "word " * 800_000, 101)))
        self.assertLess(sum(given), 2000)

    def test_surrogates(self) -> None:
        """Half a pair of surrogates is a character that cannot be read."""
        self.assertEqual("a\ufffdb", "".join(self.encode(self.load(), "a\ud800b").texts))

    def test_threads(self) -> None:
        """Long texts are cut in a thread, short ones at once; characters of many bytes count more."""
        deferred: list[Any] = []

        def later(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            deferred.append(function)
            return in_thread(function, *arguments)

        tokenizer = self.load(defer_to_thread=later)
        for text, expected in (("x" * 800, 0), ("x" * 801, 1), ("東" * 266, 0), ("東" * 267, 1)):
            deferred.clear()
            self.encode(tokenizer, text)
            self.assertEqual(expected, len(deferred))
        deferred.clear()
        self.decode(tokenizer, [5] * 1000)
        self.decode(tokenizer, [5] * 1001)
        self.assertEqual(1, len(deferred))

    def test_real_thread(self) -> None:
        """What is cut in a thread is the same."""
        tokenizer = self.load(defer_to_thread=in_real_thread)
        text = ENGLISH * 20
        expected = small.bpe().encode(text, add_special_tokens=False).ids
        self.assertEqual(expected, self.encode(tokenizer, text).ids)
        long = Conversation((Message("user", text),))
        self.assertEqual(
            f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n", self.read(tokenizer, long).text
        )

    def test_refusal(self) -> None:
        """A model without a chat template answers no conversation, and says why."""
        tokenizer = self.load(chat_template=None)
        refused = self.failureResultOf(Deferred.fromCoroutine(tokenizer.read(HI, 10)), InvalidRequest)
        self.assertIn("default chat template is no longer allowed", refused.value.message)


class DecodingTests(HuggingFaceTestCase):
    """Ids to text."""

    def test_texts(self) -> None:
        """Tokens say what they add, special ones too; ids that mean nothing say nothing."""
        tokenizer = self.load()
        ids = [*self.encode(tokenizer, "é 東<|im_end|>").ids, 10**6, -1]
        self.assertEqual("é 東<|im_end|>", "".join(tokenizer.texts_of(ids)))
        self.assertEqual("<|im_end|>", tokenizer.texts_of(ids)[-3])

    def test_alone(self) -> None:
        """One token has a text if it means something."""
        tokenizer = self.load()
        self.assertEqual(("<|im_end|>", None, None), tuple(map(tokenizer.text_of, (3, 10**6, -1))))
        cut = self.encode(tokenizer, "🎉").ids[0]
        self.assertEqual("\ufffd", tokenizer.text_of(cut))

    def test_pieces(self) -> None:
        """Tokens are spelled as in the vocabulary."""
        tokenizer = self.load()
        self.assertEqual(["Ġthe", ""], list(tokenizer.pieces_of([self.encode(tokenizer, " the").ids[0], 10**6])))
        blanks = self.load(small.unigram())
        self.assertEqual("▁the", blanks.pieces_of(self.encode(blanks, "the").ids)[0])

    def test_decode(self) -> None:
        """Ids give their text back, special tokens too, and nothing for those that mean nothing."""
        tokenizer = self.load()
        text = ENGLISH + "<|im_end|>"
        ids = [10**9, *self.encode(tokenizer, text).ids, 2**70]
        self.assertEqual(text, self.decode(tokenizer, ids))
        self.assertEqual(text * 10, self.decode(tokenizer, ids * 10))

    def test_clean(self) -> None:
        """Blanks before signs go where the tokenizer is configured so, but not where tokens are bytes."""
        backend = Tokenizer(models.WordLevel({"a": 0, ".": 1, "</s>": 2}, unk_token="a"))
        self.assertEqual("a. a", self.decode(self.load(backend, clean_up_tokenization_spaces=True), [0, 1, 0]))
        self.assertEqual("a . a", self.decode(self.load(backend), [0, 1, 0]))
        tokenizer = self.load(clean_up_tokenization_spaces=True)
        self.assertEqual("a .", self.decode(tokenizer, list(self.encode(tokenizer, "a .").ids)))

    def test_tags(self) -> None:
        """A tag is the one token that there is for it, or those of its text; there is always one."""
        tokenizer = self.load()
        self.assertEqual(1, len(tokenizer.tag("<think>")))
        other = tokenizer.tag("</think>")
        self.assertGreater(len(other), 1)
        self.assertEqual("</think>", "".join(other.texts))
        self.assertIs(other, tokenizer.tag("</think>"))
        self.assertEqual((1,), tuple(tokenizer.tag("").ids))
        for number in range(2000):
            tokenizer.tag(f"name{number}")
        tokenizer.tag("x" * 500)
        self.assertLessEqual(len(tokenizer._tags), 1024)


class VocabularyTests(HuggingFaceTestCase):
    """What tokens there are."""

    def test_size(self) -> None:
        """Every id is below the size, added tokens included, also those that only the configuration has."""
        size = small.bpe().get_vocab_size(with_added_tokens=True)
        self.assertEqual(size, self.load().vocabulary_size)
        added = {str(size): {"content": "<new>", "special": True}}
        tokenizer = self.load(added_tokens_decoder=added, pad_token="<pad>")
        self.assertEqual(size + 2, tokenizer.vocabulary_size)
        self.assertEqual(([size], [size + 1]), tuple(list(self.encode(tokenizer, t).ids) for t in ("<new>", "<pad>")))

    def test_end(self) -> None:
        """The token that ends a text is the one that the configuration names."""
        tokenizer = self.load()
        self.assertEqual((1, "</s>"), (tokenizer.eos_id, tokenizer.eos_text))
        self.assertEqual(3, self.load(eos_token={"content": "<|im_end|>"}).eos_id)

    def test_end_unnamed(self) -> None:
        """Where none is named it is one that is called so; without any there is no tokenizer."""
        self.assertEqual("<|im_end|>", self.load(eos_token=None).eos_text)
        backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
        with self.assertRaises(TokenizerError) as caught:
            self.load(backend, eos_token=None)
        self.assertIn('put "eos_token" into tokenizer_config.json', str(caught.exception))

    def test_describe(self) -> None:
        """It tells its configuration, its class and the chat template that conversations get."""
        told = self.load(model_max_length=99).describe()
        self.assertEqual((99, CHATML, "</s>"), (told["model_max_length"], told["chat_template"], told["eos_token"]))
        self.assertEqual("PreTrainedTokenizerFast", told["tokenizer_class"])
        self.assertEqual("{{ 1 }}", self.load(options={"chat_template": "{{ 1 }}"}).describe()["chat_template"])
        self.assertNotIn("chat_template", self.load(chat_template=None).describe())

    def test_truncation(self) -> None:
        """What a file says of truncation and padding does not count."""
        backend = Tokenizer.from_str(small.bpe().to_str())
        backend.enable_truncation(2)
        backend.enable_padding(length=50)
        self.assertEqual("one two three", "".join(self.encode(self.load(backend), "one two three").texts))

    def test_blanks_of_tokens(self) -> None:
        """Tokens that take the blanks before them do so."""
        backend = Tokenizer.from_str(small.bpe().to_str())
        backend.add_tokens([AddedToken("<mask>", lstrip=True)])
        expected = backend.encode("a   <mask>", add_special_tokens=False).ids
        self.assertEqual(expected, list(self.encode(self.load(backend), "a   <mask>").ids))

    def test_broken_template(self) -> None:
        """A chat template that is none stops the start."""
        with self.assertRaises(TokenizerError) as caught:
            self.load(chat_template="{% if %}")
        self.assertIn("chat template", str(caught.exception))


class _Spy:
    """A backend whose texts are seen."""

    def __init__(self, backend: Any, see: Callable[[Any], None], encode: Any) -> None:
        self._backend, self._see, self._encode = backend, see, encode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        self._see(texts)
        return self._encode(texts, **options)


def in_real_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Run a function in a thread and wait for it."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)))
    thread.start()
    thread.join()
    return succeed(results[0])
