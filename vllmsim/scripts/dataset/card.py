# -*- test-case-name: tests.scripts.dataset.test_card -*-
"""The page that says what a database has, and the lines that say how its making went."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

_CARD: Final = """\
# {name}

Answers for [llm-d-inference-sim](https://github.com/llm-d/llm-d-inference-sim) and vllmsim, which give them to the
prompts that they belong to, and to other prompts at random. Made by `vllmsim-dataset`.

| what | |
| --- | --- |
{facts}

A prompt is known by its token ids. A server finds its answer if it makes the same ids of the same request: it needs
the same tokenizer and the same chat template.

    vllmsim --dataset-path {name}.sqlite3 --dataset-table-name {word}

## {name}.sqlite3

A table `{table}`{index}:

| column | type | |
| --- | --- | --- |
| `id` | INTEGER | 1 and on, in the order of the input |
| `prompt_hash` | BLOB | SHA-256 of the prompt's token ids, each as four bytes, the lowest first |
| `gen_tokens` | JSON | the answer: `{{"Tokens": [ids], "Strings": [texts]}}` |
| `n_gen_tokens` | INTEGER | how many tokens it has |

## {name}.json

The same records as a list of objects: `prompt_hash` in base64, `n_gen_tokens`, `gen_tokens`, the prompt as
`input_text` and the whole answer as `generated`.
"""


@frozen
class Facts:
    """What there is to tell of a database.

    :param name: of its files.
    :param source: where the prompts come from.
    :param answers: where the answers come from.
    :param tokenizer: what made the token ids.
    :param longest: tokens of the longest answer.
    """

    name: str
    table: str
    index: bool
    source: str
    answers: str
    tokenizer: str
    records: int
    chats: int
    tokens: int
    longest: int
    skipped: Mapping[str, int]

    def card(self) -> str:
        """Write the page, in Markdown. It tells no time, so that equal databases have equal pages."""
        facts = {
            "records": f"{self.records}",
            "of conversations": f"{self.chats}",
            "of completions": f"{self.records - self.chats}",
            "tokens of all answers": f"{self.tokens}",
            "tokens of the longest answer": f"{self.longest}",
            "prompts": self.source,
            "answers": self.answers,
            "token ids": self.tokenizer,
        }
        rows = [f"| {name} | {_cell(value)} |" for name, value in facts.items()]
        index = " with an index of `prompt_hash` and `n_gen_tokens`" if self.index else ""
        return _CARD.format(
            name=self.name, facts="\n".join(rows), table=self.table, word=_word(self.table), index=index
        )

    def summary(self, paths: Mapping[str, Path], seconds: float) -> Iterator[str]:
        """Say how the making went.

        :param paths: the files.
        """
        yield f"{self.records} records: {self.chats} of conversations, {self.records - self.chats} of completions"
        yield f"{self.tokens} tokens of answers, at most {self.longest} each; token ids: {self.tokenizer}"
        yield from (f"skipped: {reason}" for reason in counted(self.skipped))
        for path in paths.values():
            yield f"{path}  {_size(path.stat().st_size)}"
        yield f"{seconds:.1f} s, {self.records / max(seconds, 1e-9):.0f} records/s"


def counted(reasons: Mapping[str, int]) -> list[str]:
    """Say how often something was so."""
    return [f"{reason}, {count} time{'' if count == 1 else 's'}" for reason, count in sorted(reasons.items())]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _word(text: str) -> str:
    """Write a text as one word of a command line."""
    return shlex.quote(text)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - metres and kilometres
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        size /= 1000
    return f"{size:.3g} GB"
