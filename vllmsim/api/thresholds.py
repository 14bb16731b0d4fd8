# -*- test-case-name: tests.api.test_thresholds -*-
"""Requests that want to be refused where too little of their prompt is cached (llm-d's ``cache_hit_threshold``).

A router sends such a request to a decode server first. If at least that share of the prompt is in its cache, it is
served there; if not, the answer comes at once, without a token and with the finish reason ``cache_threshold``, and the
router has another server run the prefill. The header ``X-Cache-Threshold-Finish-Reason`` asks for that answer whatever
is cached, to try a router.
"""

from typing import Final

from attrs import frozen

from vllmsim.api.body import Head
from vllmsim.errors import InvalidRequest

_HEADER: Final = "X-Cache-Threshold-Finish-Reason"
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"", "0", "f", "F", "FALSE", "false", "False"})


@frozen
class Threshold:
    """When a request is to be refused.

    :param share: the share of the prompt, from 0 to 1, that must be cached; None for what the server wants.
    :param refuses: whether to refuse it whatever is cached.
    """

    share: float | None = None
    refuses: bool = False


USUAL: Final = Threshold()
"""What a request says that says nothing."""
NEVER: Final = Threshold(0.0)
"""What a request says that is served in any case."""


def threshold_of(head: Head, share: float | None) -> Threshold:
    """Read what a request says.

    :param share: its ``cache_hit_threshold``; one that is no share means nothing.
    :raises InvalidRequest: when the header is neither true nor false.
    """
    text = head.cache_threshold
    if text is None and share is None:
        return USUAL
    if text is not None and text not in _TRUE | _FALSE:
        raise InvalidRequest(f"Invalid {_HEADER} header value {text[:64]!r}: must be true or false.", _HEADER)
    return Threshold(share if share is not None and 0 <= share <= 1 else None, text in _TRUE)
