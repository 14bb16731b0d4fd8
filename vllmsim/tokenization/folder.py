# -*- test-case-name: tests.tokenization.test_folder -*-
"""A tokenizer's files, as models on the hub have them.

``tokenizer.json`` is the tokenizer itself, in the form of the ``tokenizers`` package. ``tokenizer_config.json`` tells
how models use it: which of its tokens begin and end a text, what more tokens there are, and how a conversation becomes
a text. That chat template may instead be in ``chat_template.jinja``, and more of them in ``chat_templates/NAME.jinja``.
Older models have the names of special tokens in ``special_tokens_map.json``, and more tokens in ``added_tokens.json``.
``generation_config.json`` tells what ends an answer. All but the first may be missing; what several of them say is
taken from the one from which transformers takes it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

_NAMED: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_ENDINGS: Final = (
    "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>", "[SEP]",
)  # fmt: skip
"""What tokens that end a text are called, for tokenizers that do not say which of theirs does."""
_OTHER_KINDS: Final = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
)


class TokenizerError(SystemExit):
    """A tokenizer cannot be had: ends the program with status 1 and one line that says why.

    :param path: the file or folder at fault.
    :param reason: what is wrong with it, and what to do if that is not plain.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"vllmsim: cannot use the tokenizer {str(path)!r}: {reason}")


@frozen
class AddedToken:
    """A token that is told beside the vocabulary.

    :param options: the keywords of :class:`tokenizers.AddedToken`.
    """

    content: str
    options: Mapping[str, bool] = field(factory=dict)


@frozen(eq=False)
class TokenizerFolder:
    """What the files say.

    :param file: ``tokenizer.json``.
    :param config: ``tokenizer_config.json``.
    :param special_tokens: the texts of special tokens by their names, such as ``eos_token``.
    :param added: tokens that ``tokenizer.json`` may lack, in the order of their ids.
    :param templates: chat templates by their names.
    :param ends: ids of tokens that end an answer.
    """

    file: Path
    config: Mapping[str, Any] = field(factory=dict)
    special_tokens: Mapping[str, str] = field(factory=dict)
    added: tuple[AddedToken, ...] = ()
    templates: Mapping[str, str] = field(factory=dict)
    ends: tuple[int, ...] = ()

    def endings(self) -> Iterator[str | int]:
        """List what may be the token that ends a text, the likeliest first: texts and ids."""
        if "eos_token" in self.special_tokens:
            yield self.special_tokens["eos_token"]
        yield from self.ends
        yield from _ENDINGS


def read_folder(path: str) -> TokenizerFolder:
    """Read a model's folder, or a ``tokenizer.json`` that stands alone.

    :raises TokenizerError: when there is no such tokenizer, or a file is not what it should be.
    """
    place = Path(path).expanduser()
    if place.is_file():
        return TokenizerFolder(place)
    if not place.is_dir():
        raise TokenizerError(place, "it is no file" if place.exists() else "there is no such file or folder")
    file = place / "tokenizer.json"
    if not file.is_file():
        found = [name for name in _OTHER_KINDS if (place / name).exists()]
        raise TokenizerError(
            place,
            f"the folder has no tokenizer.json{', only ' + ' and '.join(found) if found else ''}; with the package "
            f"transformers one is written by AutoTokenizer.from_pretrained({str(place)!r}).save_pretrained(FOLDER)",
        )
    config = _read_object(place / "tokenizer_config.json")
    named = dict(config)
    if "added_tokens_decoder" not in config:
        named.update(_read_object(place / "special_tokens_map.json"))
    ends = _read_object(place / "generation_config.json").get("eos_token_id")
    return TokenizerFolder(
        file,
        config,
        {name: text for name in _NAMED if (text := _text_of(named.get(name))) is not None},
        tuple(_added(place, config, named)),
        dict(_templates(place, config)),
        tuple(end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)),
    )


def read_chat_template(given: str) -> str:
    """Read the chat template that an operator gives.

    :param given: a file, or the template itself if it has a brace or a line break.
    :raises TokenizerError: when there is no such file.
    """
    if any(character in given for character in "{}\n"):
        return given
    path = Path(given).expanduser()
    if not path.exists():
        raise TokenizerError(path, "there is no such file for the chat template")
    return _read_text(path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise TokenizerError(path, getattr(error, "strerror", None) or str(error)) from error


def _read_object(path: Path) -> Mapping[str, Any]:
    """Read a JSON object; a file that is missing has nothing."""
    if not path.exists():
        return {}
    try:
        value = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(path, f"it is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TokenizerError(path, "it is not a JSON object")
    return value


def _text_of(token: object) -> str | None:
    """Read the text of a token, which stands alone or among more facts."""
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) and text else None


def _added(place: Path, config: Mapping[str, Any], named: Mapping[str, Any]) -> Iterator[AddedToken]:
    decoder = config.get("added_tokens_decoder")
    if isinstance(decoder, Mapping):
        known = [(str(number), token) for number, token in decoder.items() if _text_of(token) is not None]
        for _, token in sorted(known, key=lambda item: int(item[0]) if item[0].isdecimal() else 0):
            yield _token(token)
    else:
        tokens = _read_object(place / "added_tokens.json")
        special = {_text_of(named.get(name)) for name in _NAMED}
        for text in sorted(tokens, key=lambda each: tokens[each] if isinstance(tokens[each], int) else 0):
            yield AddedToken(text, {"special": text in special, "normalized": text not in special})
    more = named.get("extra_special_tokens") or named.get("additional_special_tokens") or ()
    if isinstance(more, Mapping):
        more = tuple(more.values())
    elif not isinstance(more, Sequence):
        raise TokenizerError(place / "tokenizer_config.json", "its special tokens are neither a list nor an object")
    for token in (*(named.get(name) for name in _NAMED), *more):
        if _text_of(token) is not None:
            yield _token(token)


def _token(token: object) -> AddedToken:
    facts = token if isinstance(token, Mapping) else {}
    options = {name: bool(facts[name]) for name in ("single_word", "lstrip", "rstrip", "normalized") if name in facts}
    return AddedToken(_text_of(token) or "", {**options, "special": bool(facts.get("special", True))})


def _templates(place: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    files = {path.name.removesuffix(".jinja"): path for path in sorted((place / "chat_templates").glob("*.jinja"))}
    if (single := place / "chat_template.jinja").is_file():
        files["default"] = single
    if files:
        for name, path in files.items():
            yield name, _read_text(path)
        return
    told = config.get("chat_template")
    if told is None:
        told = _read_object(place / "chat_template.json").get("chat_template")
    if isinstance(told, str):
        yield "default", told
    elif isinstance(told, Mapping):
        yield from ((name, text) for name, text in told.items() if isinstance(text, str))
    for each in told if isinstance(told, list) else ():
        if not isinstance(each, Mapping) or not all(isinstance(each.get(name), str) for name in ("name", "template")):
            raise TokenizerError(
                place / "tokenizer_config.json",
                "its chat_template is a list of something else than names and templates",
            )
        yield each["name"], each["template"]
