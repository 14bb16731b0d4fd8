# -*- test-case-name: tests.structured.test_documents -*-
"""The drafts of JSON Schema, and which keywords mean nothing in them.

A keyword of another draft is neither checked nor obeyed by validators: its value may be anything.
"""

from typing import Final

DRAFTS: Final[tuple[str, ...]] = (
    "https://json-schema.org/draft/2020-12/schema",
    "http://json-schema.org/draft-07/schema#",
    "http://json-schema.org/draft-04/schema#",
)
"""What a schema may be that does not say, the likeliest first."""

_SINCE_2020: Final = frozenset({"prefixItems", "$dynamicRef", "$dynamicAnchor"})
_SINCE_2019: Final = _SINCE_2020 | {
    *("minContains", "maxContains", "dependentRequired", "dependentSchemas", "$anchor", "$recursiveRef"),
    *("unevaluatedItems", "unevaluatedProperties"),
}
_SINCE_7: Final = _SINCE_2019 | {"if", "then", "else"}
_SINCE_6: Final = _SINCE_7 | {"const", "contains", "propertyNames"}

_FOREIGN: Final = {
    "draft-04": _SINCE_6,
    "draft-06": _SINCE_7,
    "draft-07": _SINCE_2019,
    "2019-09": _SINCE_2020,
    "2020-12": frozenset({"additionalItems", "$recursiveRef"}),
}


def foreign_keywords(draft: str) -> frozenset[str]:
    """Find the keywords that mean nothing in a draft.

    :param draft: what ``$schema`` says.
    """
    return next((keywords for name, keywords in _FOREIGN.items() if name in draft), frozenset())


def is_old(draft: str) -> bool:
    """Tell whether a draft is 7 or older, where ``$ref`` hides its siblings."""
    return "draft-0" in draft


def identifier(draft: str) -> str:
    """Find the keyword that gives a part its address."""
    return "id" if "draft-04" in draft else "$id"
