"""Tokenizers of each family, trained in a moment on a few sentences, and texts in many scripts to try them with."""

import json
import os
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.tokenization.sentences import ENGLISH, SENTENCES

SPECIAL: Final = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
SCRIPTS: Final = {
    "Latin": "abcdefghijklmnopqrstuvwxyzäöüßéñçøł",
    "Cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "Greek": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "Hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "Devanagari": "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूेैोौ्",
    "Thai": "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศษสหอฮะาิีึืุูเแโใไ่้",
    "Han": "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后",
    "Kana": "あいうえおかきくけこさしすせそたちつてとなにぬねのアイウエオカキクケコ",
    "Hangul": "가나다라마바사아자차카타파하고노도로모보소오조초코토포호",
    "Georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "Emoji": "😀😂🎉👍🏽👩‍💻🇩🇪❤️🔥✨🚀",
}
"""Twelve scripts, each with some of its characters; of emoji some are several."""


def texts(count: int) -> list[str]:
    """Make texts, the same each time: sentences, words of each script, and special tokens among them."""
    made = [ENGLISH, *(text for _, text in SENTENCES.values())]
    generator = random.Random(5)
    while len(made) < count:
        letters = list(SCRIPTS.values())[len(made) % len(SCRIPTS)]
        words = [
            "".join(generator.choices(letters, k=generator.randint(1, 9))) for _ in range(generator.randint(1, 12))
        ]
        words += generator.choices(
            ["", " ", "\n\n", "\t", "3.14", "don't", "…", "<|im_end|>", "e\u0301", "\u200d"], k=2
        )
        generator.shuffle(words)
        made.append(generator.choice([" ", "", ", "]).join(words))
    return made


def _train(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    # Threads would have every process that is forked later warn of them.
    with patch.dict(os.environ, TOKENIZERS_PARALLELISM="false"):
        tokenizer.train_from_iterator([ENGLISH, *(text for _, text in SENTENCES.values())], trainer)
    return tokenizer


@cache
def bpe() -> Tokenizer:
    """Train one whose tokens are bytes, which puts a token before prompts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    _train(tokenizer, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("né du 東", special=False)])
    return tokenizer


@cache
def unigram() -> Tokenizer:
    """Train one of pieces with their likelihood, whose blanks are spelled."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=900, special_tokens=["<unk>", *SPECIAL], unk_token="<unk>", show_progress=False
    )
    return _train(tokenizer, trainer)


@cache
def byte_fallback() -> Tokenizer:
    """Train one with spelled blanks that has bytes for what it lacks, as Llama 2 has."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", *SPECIAL, *bytes_], max_token_length=12, limit_alphabet=60,
        show_progress=False,
    )  # fmt: skip
    trained = json.loads(_train(tokenizer, trainer).to_str())
    trained["added_tokens"] = [token for token in trained["added_tokens"] if token["content"] not in bytes_]
    return Tokenizer.from_str(json.dumps(trained))


@cache
def wordpiece() -> Tokenizer:
    """Train one of words and their ends, as BERT has, which forgets blanks and unknown words."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=["[UNK]", "[CLS]", "[SEP]", *SPECIAL], show_progress=False
    )
    return _train(tokenizer, trainer)


FAMILIES: Final[Sequence[Callable[[], Tokenizer]]] = (bpe, unigram, byte_fallback, wordpiece)


def write_folder(path: str, tokenizer: Tokenizer, **config: Any) -> None:
    """Write a model's files into a folder.

    :param config: what ``tokenizer_config.json`` has beside the ending token.
    """
    folder = Path(path)
    tokenizer.save(str(folder / "tokenizer.json"))
    written = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(written), "utf-8")
