# -*- test-case-name: tests.api.test_logprobs -*-
"""Log probabilities, which a simulator has to invent.

The token at position p has -1.0 - 0.1 (p mod 3), and its j-th alternative 0.5 j less, under the token's text with
``_j`` behind it: the values of llm-d-inference-sim, in vLLM's shapes.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import frozen

from vllmsim.inference import Answer, TokenizedPrompt
from vllmsim.sampling import MOST_ALTERNATIVES

PERIOD: Final = 3
"""After so many tokens, log probabilities begin anew."""


def logprob(position: int, rank: int) -> float:
    """Invent the log probability of a token or one of its alternatives.

    :param position: the token's place in the answer or the prompt.
    :param rank: 0 for the token itself.
    """
    return round(-1.0 - 0.1 * (position % PERIOD) - 0.5 * rank, 6)


def alternatives(count: int) -> range:
    """Rank the alternatives of a token.

    :param count: how many are shown, the token itself included; -1 for all.
    """
    return range(1, MOST_ALTERNATIVES if count < 0 else min(count, MOST_ALTERNATIVES))


@frozen
class Shower:
    """Shows tokens in log probabilities.

    :param count: how many alternatives are shown, the token itself included; -1 for all.
    :param as_ids: show tokens as ``token_id:N``.
    """

    count: int
    as_ids: bool

    def _name(self, token: int, text: str, rank: int = 0) -> str:
        if self.as_ids:
            return f"token_id:{token + rank}"
        return f"{text}_{rank}" if rank else text

    def _ranked(self, position: int, token: int, text: str) -> list[tuple[str, float]]:
        """List the token and its alternatives, at least the token."""
        ranks = (0, *alternatives(self.count))
        return [(self._name(token, text, rank), logprob(position, rank)) for rank in ranks]

    def chat(self, answer: Answer, start: int, stop: int) -> dict[str, Any]:
        """Show some tokens of an answer in the form of chat completions."""
        content = []
        for position in range(start, stop):
            ranked = self._ranked(position, answer.ids[position], answer.texts[position])
            entries = [
                {"token": name, "logprob": value, "bytes": list(name.encode("utf-8", "replace"))}
                for name, value in ranked
            ]
            content.append(entries[0] | {"top_logprobs": entries if self.count else []})
        return {"content": content}

    def response(self, answer: Answer, start: int, stop: int, *, brief: bool) -> list[dict[str, Any]]:
        """Show some tokens of an answer in the form of Responses.

        :param brief: leave the bytes out, as deltas do.
        """
        shown = []
        for position in range(start, stop):
            ranked = self._ranked(position, answer.ids[position], answer.texts[position])
            entries = [
                {"token": name, **({} if brief else {"bytes": list(name.encode("utf-8", "replace"))}), "logprob": value}
                for name, value in ranked
            ]
            shown.append(entries[0] | {"top_logprobs": entries if self.count else []})
        return shown

    def by_id(self, answer: Answer, start: int, stop: int) -> dict[str, Any]:
        """Show some tokens of an answer by their ids, as the token routes do."""
        content = []
        for position in range(start, stop):
            token = answer.ids[position]
            entries = [
                {"token_id": token + rank, "logprob": logprob(position, rank), "rank": rank + 1}
                for rank in (0, *alternatives(self.count))
            ]
            content.append(entries[0] | {"top_logprobs": entries if self.count else []})
        return {"content": content}

    def text(self, tokens: Iterable[tuple[int | None, int, str]], offset: int) -> tuple[dict[str, Any], int]:
        """Show tokens in the form of completions.

        :param tokens: position, id and text of each; a prompt's first token has no position, as it has no probability.
        :param offset: characters of text before the first.
        :return: what to show, and the characters before the token that follows.
        """
        shown: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for position, token, text in tokens:
            ranked = None if position is None else self._ranked(position, token, text)
            shown["text_offset"].append(offset)
            shown["token_logprobs"].append(ranked[0][1] if ranked else None)
            shown["tokens"].append(self._name(token, text))
            shown["top_logprobs"].append(dict(ranked) if ranked else None)
            offset += len(text)
        return shown, offset

    def prompt(self, prompt: TokenizedPrompt) -> Sequence[dict[str, Any] | None]:
        """Show a prompt's tokens by id; the first has no probability."""
        entries: list[dict[str, Any] | None] = [None]
        for position in range(1, len(prompt.ids)):
            token, text = prompt.ids[position], prompt.texts[position]
            entries.append(
                {
                    str(token + rank): {
                        "logprob": logprob(position, rank),
                        "rank": rank + 1,
                        "decoded_token": f"{text}_{rank}" if rank else text,
                    }
                    for rank in (0, *alternatives(self.count))
                }
            )
        return entries
