# -*- test-case-name: tests.api.scaleout.test_reading -*-
"""Token ids, read as a client would see them: their texts, and what they are parts of."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from vllmsim.api.scaleout.given import GivenLogprob, GivenLogprobs
from vllmsim.inference import Answer, Part
from vllmsim.interfaces import ITokenizer
from vllmsim.structure import CALL, THINK

_UNREADABLE: Final = "\ufffd"
"""What is shown for a character that is cut off."""


@frozen(eq=False)
class Words:
    """Token ids as a client would see them.

    :param as_ids: show tokens as ``token_id:N`` in log probabilities.
    """

    tokenizer: ITokenizer
    as_ids: bool = False

    def texts(self, ids: Iterable[int], *, more: bool = False) -> list[str]:
        """Look up what some tokens say; the one that ends an answer says nothing, nor do those that mean nothing.

        :param more: whether others follow, which may be the rest of a character.
        """
        ids = tuple(ids)
        end = self.tokenizer.eos_id
        texts = ["" if token == end else text for token, text in zip(ids, self.tokenizer.texts_of(ids), strict=True)]
        if more and texts:
            texts[-1] = texts[-1].rstrip(_UNREADABLE)
        return texts

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

    def answer(
        self, ids: Sequence[int], *, reasons: bool = False, tools: Collection[str] | None = None, more: bool = False
    ) -> Answer:
        """Read what an answer says.

        :param reasons: whether reasoning is told from the rest.
        :param tools: the names of those that may be called; None where calls are text like any other.
        :param more: whether other tokens follow.
        :return: an answer whose end means nothing.
        """
        texts = self.texts(ids, more=more)
        parts = self._parts(tuple(ids), texts, reasons=reasons, tools=tools, more=more)
        if not parts:
            return Answer(ids, texts, texts, "stop")
        pieces = [""] * len(ids)
        for part in parts:
            pieces[part.first : part.last] = texts[part.first : part.last]
        return Answer(ids, texts, pieces, "stop", parts=parts)

    def _parts(
        self, ids: tuple[int, ...], texts: Sequence[str], *, reasons: bool, tools: Collection[str] | None, more: bool
    ) -> tuple[Part, ...]:
        length = len(ids) - (bool(ids) and ids[-1] == self.tokenizer.eos_id)
        tags = ([THINK] if reasons else []) + ([] if tools is None else [CALL])
        opening = {tag[0]: (tag, self._tag(closing)) for tag, closing in ((self._tag(t[0]), t[1]) for t in tags)}
        names = {name: self._tag(name) for name in tools or ()}
        parts: list[Part] = []
        place = begun = 0
        while place < length:
            tag, closing = opening.get(ids[place], ((), ()))
            if not tag or ids[place : place + len(tag)] != tag:
                place += 1
                continue
            if begun < place:
                parts.append(Part("text", begun, begun, begun, place, place))
            inner = place + len(tag)
            last = _find(ids, closing, inner, length)
            stop = length if last is None else last + len(closing)
            if last is None:
                last, open_ = length - (_begun(ids, (closing,), inner, length) if more else 0), more
            else:
                open_ = False
            if tag == self._tag(THINK[0]):
                parts.append(Part("reasoning", place, inner, inner, last, stop))
            else:
                name, first = _name(ids, texts, range(inner, last), names, more=open_)
                parts.append(Part("call", place, first - 1 if name else stop, first, last, stop, name))
            place = begun = stop
        held = _begun(ids, [tag for tag, _ in opening.values()], begun, length) if more else 0
        if not parts and not held:
            return ()
        if begun < length:
            parts.append(Part("text", begun, begun, begun, length - held, len(ids)))
        return tuple(parts)

    def _tag(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.tag(text).ids)


def _find(ids: tuple[int, ...], tag: tuple[int, ...], start: int, stop: int) -> int | None:
    """Find where a tag begins."""
    while True:
        try:
            start = ids.index(tag[0], start, stop)
        except ValueError:
            return None
        if ids[start : min(start + len(tag), stop)] == tag:
            return start
        start += 1


def _begun(ids: tuple[int, ...], tags: Iterable[tuple[int, ...]], start: int, stop: int) -> int:
    """Count the last tokens that may be the beginning of a tag, the rest of which is to come."""
    return max(
        (
            count
            for tag in tags
            for count in range(1, min(len(tag), stop - start + 1))
            if ids[stop - count : stop] == tag[:count]
        ),
        default=0,
    )


def _name(
    ids: tuple[int, ...], texts: Sequence[str], inside: range, names: Mapping[str, tuple[int, ...]], *, more: bool
) -> tuple[str, int]:
    """Find the name at the beginning of a call.

    :param inside: where the call is, without its tags.
    :param names: those that it may be, with their tokens.
    :param more: whether the rest of it may be to come.
    :return: the name, and the token behind it; nothing if the name is not there yet.
    """
    said = ids[inside.start : inside.stop]
    if not said or (more and any(len(tag) > len(said) and tag[: len(said)] == said for tag in names.values())):
        return "", inside.stop
    found = [name for name, tag in names.items() if said[: len(tag)] == tag]
    if found:
        name = max(found, key=lambda each: len(names[each]))
        return name, inside.start + len(names[name])
    return texts[inside.start], inside.start + 1
