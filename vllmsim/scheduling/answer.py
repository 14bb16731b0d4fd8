# -*- test-case-name: tests.scheduling.test_answer -*-
"""Where an answer ends: the stop rules that vLLM applies to each sampled token, applied to the whole text at once.

Per token, in vLLM's order: the end-of-sequence token ends with ``stop``; a stop token ends with ``stop`` and its id;
the limit ends with ``length``; a stop text ends with ``stop`` and that text, cut off unless the request keeps it.
While stop texts are set, the last ``max(len(stop)) - 1`` characters are held back, as they may begin one: text then
arrives some tokens late, and what is held back at the end comes with the last token. Parts are looked at one by one,
and nothing is held back from one to the next.
"""

from collections.abc import Sequence

from attrs import evolve

from vllmsim.inference import Answer, Composition, Part, Tokens
from vllmsim.sampling import Sampling


def settle(said: Composition, limit: int, sampling: Sampling, eos_id: int, eos_text: str) -> Answer:
    """Apply the stop rules to what a model would say.

    :param said: fewer than `limit` tokens mean that the model ends by itself; what is more is cut off.
    :param limit: the most tokens of this choice, at least 1.
    :return: at least one token.
    """
    # Tuples: the collector of garbage passes over those of numbers and texts, and would read lists again and again.
    ids, texts = tuple(said.tokens.ids[:limit]), tuple(said.tokens.texts[:limit])
    ended = len(ids) < limit
    if ended:
        ids, texts = (*ids, eos_id), (*texts, eos_text)
    parts = _parts(said, len(ids), ended=ended)
    shown = _shown(texts, parts, ended=ended)
    if sampling.stop or sampling.stop_token_ids:
        return _Reading(Tokens(ids, texts), shown, parts, ended, sampling).read()
    return Answer(ids, texts, shown, "stop" if ended else "length", parts=parts)


def _parts(said: Composition, length: int, *, ended: bool) -> tuple[Part, ...]:
    """Cut the parts where the answer is cut; the ending token belongs to the last if that is text."""
    parts = [part.cut(length) for part in said.parts if part.start < length]
    if ended and parts and parts[-1].kind == "text":
        parts[-1] = evolve(parts[-1], stop=length)
    return tuple(parts)


def _shown(texts: Sequence[str], parts: tuple[Part, ...], *, ended: bool) -> Sequence[str]:
    """List what clients see of each token: nothing of tags and of the ending token."""
    if not parts:
        return (*texts[:-1], "") if ended else texts
    shown = [""] * len(texts)
    for part in parts:
        shown[part.first : part.last] = texts[part.first : part.last]
    return tuple(shown)


class _Reading:
    """Reads an answer token by token, looking for what stops it.

    :param said: the tokens, with the ending one if the model ends by itself.
    :param shown: what clients would see of each.
    """

    def __init__(
        self, said: Tokens, shown: Sequence[str], parts: tuple[Part, ...], ended: bool, sampling: Sampling
    ) -> None:
        self._said, self._shown, self._parts, self._ended, self._sampling = said, shown, parts, ended, sampling
        self._text = "".join(shown)
        self._keep = sampling.include_stop_str_in_output
        self._seams = {part.first for part in parts}
        self._ends = {part.last for part in parts}
        self._written = 0
        self._pieces: list[str] = []

    def read(self) -> Answer:
        stops = frozenset(self._sampling.stop_token_ids)
        hold = 0 if self._keep else max(0, max(map(len, self._sampling.stop), default=0) - 1)
        last, seam, end = len(self._said) - 1, 0, 0
        for index, token in enumerate(self._said.ids):
            begin, may_stop = end, index >= self._sampling.min_tokens
            if index == last and self._ended:
                return self._finish(index, end, None)
            end += len(self._shown[index])
            if index in self._seams:
                seam = begin
            if may_stop and token in stops:
                return self._finish(index, end if self._keep else begin, token)
            if may_stop and (found := self._find(max(seam, begin), end, seam)):
                return self._finish(index, *found)
            self._write(end if index == last or index + 1 in self._ends else end - hold)
        return Answer(self._said.ids, self._said.texts, tuple(self._pieces), "length", parts=self._parts)

    def _find(self, begin: int, end: int, seam: int) -> tuple[int, str] | None:
        """Find the first of the stop texts that the characters from `begin` to `end` complete.

        :param seam: where the part begins, before which nothing counts.
        :return: how much of the text stays, and the stop text.
        """
        for stop in self._sampling.stop:
            at = self._text.find(stop, max(seam, begin - len(stop) + 1), end)
            if at >= 0:
                return at + len(stop) if self._keep else at, stop
        return None

    def _write(self, end: int) -> None:
        self._pieces.append(self._text[self._written : max(self._written, end)])
        self._written = max(self._written, end)

    def _finish(self, index: int, end: int, reason: str | int | None) -> Answer:
        self._write(end)
        length = index + 1
        parts = tuple(part.cut(length) for part in self._parts if part.start < length)
        ids, texts = self._said.ids[:length], self._said.texts[:length]
        return Answer(ids, texts, tuple(self._pieces), "stop", reason, parts)
