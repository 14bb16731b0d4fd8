# -*- test-case-name: tests.scheduling.test_answer -*-
"""Where an answer ends: the stop rules that vLLM applies to each sampled token, applied to the whole text at once.

Per token, in vLLM's order: the end-of-sequence token ends with ``stop``; a stop token ends with ``stop`` and its id;
the limit ends with ``length``; a stop text ends with ``stop`` and that text, cut off unless the request keeps it.
While stop texts are set, the last ``max(len(stop)) - 1`` characters are held back, as they may begin one: text then
arrives some tokens late, and what is held back at the end comes with the last token.
"""

from collections.abc import Sequence

from vllmsim.inference import Answer, Sampling, Tokens


def settle(said: Tokens, limit: int, sampling: Sampling, eos_id: int, eos_text: str) -> Answer:
    """Apply the stop rules to what a response source says.

    :param said: at most `limit` tokens; fewer mean that the model ends by itself.
    :param limit: the most tokens of this choice, at least 1.
    :return: at least one token.
    """
    ids, texts = said.ids, said.texts
    ended = len(ids) < limit
    if ended:
        ids, texts = [*ids, eos_id], [*texts, eos_text]
    if sampling.stop or sampling.stop_token_ids:
        return _Reading(ids, texts, ended, sampling).read()
    pieces = [*said.texts, ""] if ended else texts
    return Answer(ids, texts, pieces, "stop" if ended else "length")


class _Reading:
    """Reads an answer token by token, looking for what stops it.

    :param ids: the tokens, with the ending one if the model ends by itself.
    """

    def __init__(self, ids: Sequence[int], texts: Sequence[str], ended: bool, sampling: Sampling) -> None:
        self._ids, self._texts, self._ended, self._sampling = ids, texts, ended, sampling
        self._text = "".join(texts[:-1] if ended else texts)
        self._keep = sampling.include_stop_str_in_output
        self._shown = 0
        self._pieces: list[str] = []

    def read(self) -> Answer:
        stops = frozenset(self._sampling.stop_token_ids)
        hold = 0 if self._keep else max(0, max(map(len, self._sampling.stop), default=0) - 1)
        last, end = len(self._ids) - 1, 0
        for index, token in enumerate(self._ids):
            begin, may_stop = end, index >= self._sampling.min_tokens
            if index == last and self._ended:
                return self._finish(index, end, None)
            end += len(self._texts[index])
            if may_stop and token in stops:
                return self._finish(index, end if self._keep else begin, token)
            if may_stop and (found := self._find(begin, end)):
                return self._finish(index, *found)
            self._show(end if index == last else end - hold)
        return Answer(self._ids, self._texts, self._pieces, "length")

    def _find(self, begin: int, end: int) -> tuple[int, str] | None:
        """Find the first of the stop texts that the characters from `begin` to `end` complete.

        :return: how much of the text stays, and the stop text.
        """
        for stop in self._sampling.stop:
            at = self._text.find(stop, max(0, begin - len(stop) + 1), end)
            if at >= 0:
                return at + len(stop) if self._keep else at, stop
        return None

    def _show(self, end: int) -> None:
        self._pieces.append(self._text[self._shown : max(self._shown, end)])
        self._shown = max(self._shown, end)

    def _finish(self, index: int, end: int, reason: str | int | None) -> Answer:
        self._show(end)
        return Answer(self._ids[: index + 1], self._texts[: index + 1], self._pieces, "stop", reason)
