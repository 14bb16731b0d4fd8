# -*- test-case-name: tests.config.test_arguments -*-
"""Reads a command line, in any of the forms that ``vllm serve`` and llm-d-inference-sim take.

Values follow as ``--x value`` or ``--x=value``. Lists take words up to the next flag, and may be repeated. Yes-or-no
flags stand alone or take ``true`` or ``false`` either way. JSON options take members, as ``--x.member value``, and
``--x.member+ value`` appends to a list. Unambiguous abbreviations are understood.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from attrs import define, evolve, field

from vllmsim.config.kinds import FALSE, TRUE, UNREADABLE, Flag, Json, List
from vllmsim.config.names import Meaning, complete, find, short_names, suggest
from vllmsim.config.option import Option
from vllmsim.config.problems import Problem, problems_of

_WORDS: Final = TRUE | FALSE
REQUESTS: Final = frozenset({"help", "help-plugins", "version", "print-config", "check-config"})
"""What a command line may ask to be shown, after which the program ends."""
_MAY_STAND_ALONE: Final = "hf-token"
"""The one flag of vLLM whose value can be left out."""


@define
class Arguments:
    """What a command line says.

    :param values: by option name, the value and the flag it was given with.
    :param config: the path of the YAML file, if one was named.
    :param requests: which of :data:`REQUESTS` it asks for.
    :param topic: what help is asked about.
    """

    values: dict[str, tuple[Any, str]] = field(factory=dict)
    config: str | None = None
    requests: set[str] = field(factory=set)
    topic: str = ""
    problems: list[Problem] = field(factory=list)


class _Scanner:
    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._at = 0
        self._positional: list[str] = []
        self.arguments = Arguments()

    def scan(self) -> Arguments:
        while self._at < len(self._words):
            word = self._take()
            if word == "--":
                self._positional += self._words[self._at :]
                break
            if word.startswith("--"):
                self._long(word)
            elif _is_flag(word):
                self._short(word)
            else:
                self._positional.append(word)
        self._settle_positional()
        return self.arguments

    def _take(self) -> str:
        self._at += 1
        return self._words[self._at - 1]

    def _next_is_value(self) -> bool:
        return self._at < len(self._words) and not _is_flag(self._words[self._at])

    def _settle_positional(self) -> None:
        words = self._positional[1:] if self._positional[:1] == ["serve"] else self._positional
        if words and "model" not in self.arguments.values:
            meaning = find("model")
            assert meaning is not None
            self._store(meaning, "model", words[0], "the model argument")
            words = words[1:]
        for word in words:
            self._complain(word, "is one word too many; a list needs its flag, and text with blanks needs quotes")

    def _complain(self, key: str, fault: str, option: Option | None = None) -> None:
        self.arguments.problems.append(Problem(key, fault, "command line", option.name if option else None))

    def _long(self, word: str) -> None:
        name, separator, text = word[2:].partition("=")
        inline = text if separator else None
        if name.replace("_", "-") in REQUESTS:
            self.arguments.requests.add(name.replace("_", "-"))
            self.arguments.topic = inline or self.arguments.topic
        elif name == "config":
            self._config(inline)
        elif "." in name:
            self._member(f"--{name}", name, inline)
        elif meaning := self._meaning(f"--{name}", name):
            self._give(meaning, f"--{name}", inline)
        else:
            self._skip_value(inline)

    def _skip_value(self, inline: str | None) -> None:
        """Pass over what was meant for a flag that is none: it is no problem of its own."""
        if inline is None and self._next_is_value():
            self._take()

    def _short(self, word: str) -> None:
        name, separator, text = word.partition("=")
        inline = text if separator else None
        base, dot, path = name.partition(".")
        if name == "-h":
            self.arguments.requests.add("help")
        elif meaning := short_names().get(name):
            self._give(meaning, name, inline)
        elif dot and (meaning := short_names().get(base)):
            # vLLM's -O alone is a level; with members it is the compilation's settings.
            long = "compilation-config" if base == "-O" else meaning.option.name
            self._member(name, f"{long}.{path}", inline)
        elif re.fullmatch(r"-O\d+", name):
            self._give(short_names()["-O"], "-O", name[2:])
        else:
            self._complain(name, "is no flag" + _hint(name.lstrip("-")))
            self._skip_value(inline)

    def _meaning(self, flag: str, name: str) -> Meaning | None:
        if meaning := find(name):
            return meaning
        candidates = complete(name)
        if len(candidates) == 1:
            return find(candidates[0])
        if candidates:
            self._complain(flag, "is short for several flags: " + ", ".join(f"--{each}" for each in candidates[:6]))
        else:
            self._complain(flag, "is no flag" + _hint(name))
        return None

    def _config(self, inline: str | None) -> None:
        if inline is not None or self._next_is_value():
            self.arguments.config = self._take() if inline is None else inline
        else:
            self._complain("--config", "needs the path of a YAML file")

    def _give(self, meaning: Meaning, flag: str, inline: str | None) -> None:
        kind = meaning.option.kind
        if isinstance(kind, Flag):
            if inline is None:
                follows = self._next_is_value() and self._words[self._at].lower() in _WORDS
                inline = self._take() if follows else "true"
            self._store(meaning, flag, inline, flag)
        elif isinstance(kind, List):
            words = [inline] if inline is not None else []
            while inline is None and self._next_is_value():
                words.append(self._take())
            self._extend(meaning.option, flag, words)
        elif inline is not None or self._next_is_value():
            self._store(meaning, flag, self._take() if inline is None else inline, flag)
        elif meaning.option.name == _MAY_STAND_ALONE:
            self.arguments.values[meaning.option.name] = (None, flag)
        else:
            self._complain(flag, f"needs a value: {meaning.option.kind.allowed}", meaning.option)

    def _store(self, meaning: Meaning, key: str, text: str, flag: str) -> None:
        try:
            value = meaning.option.kind.from_text(text)
        except UNREADABLE as error:
            self._report(meaning.option, key, text, error)
        else:
            self.arguments.values[meaning.option.name] = (not value if meaning.negated else value, flag)

    def _report(self, option: Option, key: str, text: str, error: Exception) -> None:
        self.arguments.problems += problems_of(option, key, text, error, "command line")

    def _extend(self, option: Option, flag: str, words: list[str]) -> None:
        before, _ = self.arguments.values.get(option.name, ((), flag))
        values = list(before)
        for word in words:
            try:
                values += option.kind.from_text(word)
            except UNREADABLE as error:
                self._report(option, flag, word, error)
        self.arguments.values[option.name] = (tuple(values), flag)

    def _member(self, flag: str, name: str, inline: str | None) -> None:
        base, *path = name.split(".")
        meaning = self._meaning(flag, base)
        if meaning is None:
            self._skip_value(inline)
            return
        option = meaning.option
        if not isinstance(option.kind, Json) or not all(path):
            self._complain(flag, f"names a member, and {option.name} has none", option)
            self._skip_value(inline)
            return
        if inline is None and not self._next_is_value():
            self._complain(flag, "needs a value", option)
            return
        text = self._take() if inline is None else inline
        before, _ = self.arguments.values.get(option.name, (None, flag))
        tree: dict[str, Any] = dict(before) if isinstance(before, dict) else {}
        _plant(tree, path, text)
        self.arguments.values[option.name] = (tree, flag)


def _plant(tree: dict[str, Any], path: list[str], text: str) -> None:
    *branches, leaf = path
    for branch in branches:
        tree[branch] = dict(tree[branch]) if isinstance(tree.get(branch), dict) else {}
        tree = tree[branch]
    if leaf.endswith("+"):
        before = tree.get(leaf[:-1])
        tree[leaf[:-1]] = [*(before if isinstance(before, list) else []), *map(_value_of, text.split(","))]
    else:
        tree[leaf] = _value_of(text)


def _value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except UNREADABLE:
        return text


def _is_flag(word: str) -> bool:
    """Whether a word is a flag, not a value such as ``-1`` or ``-``."""
    return bool(re.match(r"--?[A-Za-z]|--$", word))


def _hint(name: str) -> str:
    guess = suggest(name)
    return f"; did you mean --{guess}?" if guess else ""


def renewed(arguments: Arguments) -> Arguments:
    """Read those files again that a command line names in its values."""
    values, problems = dict(arguments.values), list(arguments.problems)
    for name, (value, flag) in arguments.values.items():
        meaning = find(name)
        if meaning is not None and meaning.option.files and value is not None:
            kind = meaning.option.kind
            try:
                values[name] = kind.from_value(kind.to_value(value)), flag
            except UNREADABLE as error:
                problems += problems_of(meaning.option, flag, kind.to_value(value), error, "command line")
    return evolve(arguments, values=values, problems=problems)


def scan(words: Sequence[str]) -> Arguments:
    """Read a command line.

    :param words: everything after the program's name.
    :return: what it says, with every problem in it.
    """
    return _Scanner(words).scan()
