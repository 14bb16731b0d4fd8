# -*- test-case-name: tests.api.scaleout.test_reading -*-
"""Token ids, read as a client would see them: their texts, and what they are parts of."""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from vllmsim.api.scaleout.given import GivenLogprob, GivenLogprobs
from vllmsim.inference import Answer, Part
from vllmsim.interfaces import ITokenizer
from vllmsim.structure import CALL, THINK


@frozen(eq=False)
class Words:
    """Token ids as a client would see them.

    :param as_ids: show tokens as ``token_id:N`` in log probabilities.
    """

    tokenizer: ITokenizer
    as_ids: bool = False

    def texts(self, ids: Iterable[int]) -> list[str]:
        """Look up the texts of some tokens; the one that ends an answer has none, nor have those that mean nothing."""
        look_up, end = self.tokenizer.text_of, self.tokenizer.eos_id
        return ["" if token == end else look_up(token) or "" for token in ids]

    def name(self, token: int) -> str:
        """Show a token in log probabilities."""
        if self.as_ids:
            return f"token_id:{token}"
        return self.tokenizer.eos_text if token == self.tokenizer.eos_id else self.tokenizer.text_of(token) or ""

    def chat_logprobs(self, given: GivenLogprobs | None) -> dict[str, Any] | None:
        """Show log probabilities in the form of chat completions."""
        if given is None or given.content is None:
            return None
        content = []
        for entry in given.content:
            shown = [self._entry(each) for each in (entry, *entry.top_logprobs)]
            content.append(shown[0] | {"top_logprobs": shown[1:]})
        return {"content": content}

    def text_logprobs(self, given: GivenLogprobs | None, offset: int) -> dict[str, Any] | None:
        """Show log probabilities in the form of completions.

        :param offset: characters of text before the first token.
        """
        if given is None or given.content is None:
            return None
        shown: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for entry in given.content:
            shown["text_offset"].append(offset)
            shown["token_logprobs"].append(entry.logprob)
            shown["tokens"].append(self.name(entry.token_id))
            shown["top_logprobs"].append(
                {self.name(each.token_id): each.logprob for each in (entry, *entry.top_logprobs)}
            )
            offset += len(self.name(entry.token_id))
        return shown

    def _entry(self, given: GivenLogprob) -> dict[str, Any]:
        name = self.name(given.token_id)
        return {"token": name, "logprob": given.logprob, "bytes": list(name.encode("utf-8", "replace"))}

    def answer(self, ids: Sequence[int], *, reasons: bool = False, calls: bool = False) -> Answer:
        """Read what an answer says.

        :param reasons: whether reasoning is told from the rest.
        :param calls: whether calls of tools are.
        :return: an answer whose end means nothing.
        """
        texts = self.texts(ids)
        parts = self._parts(ids, texts, reasons=reasons, calls=calls)
        if not parts:
            return Answer(ids, texts, texts, "stop")
        pieces = [""] * len(ids)
        for part in parts:
            pieces[part.first : part.last] = texts[part.first : part.last]
        return Answer(ids, texts, pieces, "stop", parts=parts)

    def _parts(self, ids: Sequence[int], texts: Sequence[str], *, reasons: bool, calls: bool) -> tuple[Part, ...]:
        special, ended = self.tokenizer.special_id, bool(ids) and ids[-1] == self.tokenizer.eos_id
        length = len(ids) - ended
        opening = {special(THINK[0]): THINK[1]} if reasons else {}
        opening |= {special(CALL[0]): CALL[1]} if calls else {}
        parts: list[Part] = []
        place = begun = 0
        while place < length:
            closing = opening.get(ids[place])
            if closing is None:
                place += 1
                continue
            if begun < place:
                parts.append(Part("text", begun, begun, begun, place, place))
            parts.append(self._tagged(ids, texts, place, length, closing))
            place = begun = parts[-1].stop
        if not parts:
            return ()
        if begun < length:
            parts.append(Part("text", begun, begun, begun, length, len(ids)))
        return tuple(parts)

    def _tagged(self, ids: Sequence[int], texts: Sequence[str], place: int, length: int, closing: str) -> Part:
        """Read what stands between two tags, of which the second may be missing."""
        inner = place + 1
        try:
            last = ids.index(self.tokenizer.special_id(closing), inner, length)
        except ValueError:
            last = length
        stop = min(last + 1, length)
        if closing == THINK[1]:
            return Part("reasoning", place, inner, inner, last, stop)
        name = texts[inner] if inner < last else ""
        return Part("call", place, inner, min(inner + 1, last), last, stop, name)
