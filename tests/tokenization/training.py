"""Trains the built-in tokenizer on the texts in ``corpus``, the same to the byte each time.

``make tokenizer`` runs it and writes ``vllmsim/tokenization/builtin``, which is shipped. It is here and not in the
package because nobody who runs vllmsim needs it, and the corpus is larger than all of vllmsim.

A byte-level vocabulary: the first 256 tokens are the bytes, so that any text at all has tokens; then come the merges,
in the order in which they were learned; the special tokens have the last ids.
"""

import json
import lzma
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as Bytes
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

CORPUS: Final = Path(__file__).with_name("corpus")
FOLDER: Final = Path(__file__).parents[2] / "vllmsim" / "tokenization" / "builtin"
VOCABULARY_SIZE: Final = 8192
LONGEST_TOKEN: Final = 24
"""How many bytes a token has at most, so that rulers of dashes do not fill the vocabulary."""

TEXTS: Final = {
    "addresses.txt.xz": 2,
    "novel.txt.xz": 2,
    "countries.txt.xz": 1,
    "countries.json.xz": 1,
    "code.txt.xz": 2,
    "conversations.txt": 8,
    "conversations-east.txt": 8,
    "declaration.txt.xz": 1,
    "declaration-east.txt.xz": 3,
}
"""How often each text of the corpus is read: English most; scripts of many characters more than they are long."""

TAGS: Final = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
"""Tokens of their own which a client may see: parsers of reasoning and of tools look for them in the text."""
CONTROLS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MEDIA: Final = ("<|image|>", "<|audio|>", "<|video|>")
SPARE: Final = tuple(f"<|reserved_{number}|>" for number in range(4))
SPECIAL: Final = (*CONTROLS, *TAGS, *MEDIA, *SPARE)

_CUTS: Final = (
    r"'(?i:[sdmt]|ll|re|ve)(?![\p{L}\p{M}])",  # the ends of I'm, don't, we'll
    r"[^\r\n\p{L}\p{N}]?+\p{L}[\p{L}\p{M}]*+",  # a word with its accents, and the one character before it
    r"\p{N}",  # digits one by one
    r" ?[^\s\p{L}\p{N}]++[\r\n]*+",  # signs, to the end of their line
    r"(?:[^\S\r\n]*+[\r\n]++)++",  # ends of lines, and the blank lines between them
    r"\s+(?!\S)",  # blanks, without the one that goes to the word behind them
    r"\s+",
)
WORDS: Final = Regex("|".join(_CUTS))
"""Where text is cut before merges are looked for: a token never crosses such a cut. No blank is tried twice, so that a
megabyte of them takes no longer than one of words."""


def read(name: str) -> str:
    """Read a text of the corpus.

    :param name: a file in the folder, compressed if it ends in ``.xz``.
    """
    data = CORPUS.joinpath(name).read_bytes()
    return (lzma.decompress(data) if name.endswith(".xz") else data).decode()


def texts() -> Iterator[str]:
    """Say every text of the corpus as often as it counts, whole, so that ends of paragraphs are learned too."""
    for name, times in TEXTS.items():
        yield from repeat(read(name), times)


def train() -> Tokenizer:
    """Make the tokenizer, in about a second."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Split(WORDS, "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)],
    )
    tokenizer.decoder = Bytes()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIAL),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        max_token_length=LONGEST_TOKEN,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_tokens(
        [AddedToken(text, special=text not in TAGS, normalized=False) for text in SPECIAL],
    )
    return tokenizer


def tokenizer_json() -> str:
    """Write the trained tokenizer as ``tokenizer.json`` has it: one line, and no escapes but those JSON needs."""
    return json.dumps(json.loads(train().to_str()), ensure_ascii=False, separators=(",", ":")) + "\n"


def tokenizer_config() -> str:
    """Write ``tokenizer_config.json``, which tells the roles of the special tokens."""
    first = VOCABULARY_SIZE - len(SPECIAL)
    added: dict[str, dict[str, Any]] = {
        str(first + place): {
            "content": text,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": text not in TAGS,
        }
        for place, text in enumerate(SPECIAL)
    }
    return (
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": 131072,
                "add_bos_token": False,
                "bos_token": None,
                "eos_token": "<|im_end|>",
                "pad_token": "<|endoftext|>",
                "unk_token": None,
                "additional_special_tokens": [text for text in SPECIAL if text not in TAGS],
                "clean_up_tokenization_spaces": False,
                "added_tokens_decoder": added,
            },
            indent=2,
        )
        + "\n"
    )


def main() -> None:
    """Write the two files; the chat template beside them is written by hand."""
    FOLDER.joinpath("tokenizer.json").write_text(tokenizer_json(), "utf-8")
    FOLDER.joinpath("tokenizer_config.json").write_text(tokenizer_config(), "utf-8")


if __name__ == "__main__":
    main()
