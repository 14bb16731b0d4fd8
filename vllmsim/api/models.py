# -*- test-case-name: tests.api.test_models -*-
"""``/v1/models``, as vLLM 0.33 writes it."""

from collections.abc import Callable
from typing import Any

import orjson
from attrs import frozen

from vllmsim.interfaces import IModelCatalogue


@frozen(eq=False)
class ModelList:
    """Writes the list of served models.

    :param max_model_len: the context window, which base models report.
    :param new_id: makes the part of a permission's id that follows its prefix.
    :param now: tells the time, in whole seconds since the epoch.
    """

    _models: IModelCatalogue
    _max_model_len: int
    _new_id: Callable[[], str]
    _now: Callable[[], int]

    def body(self) -> bytes:
        """Write a card for every name."""
        now = self._now()
        return orjson.dumps({"object": "list", "data": [self._card(*card, now) for card in self._models.cards()]})

    def _card(self, name: str, root: str, parent: str | None, now: int) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": now,
            "owned_by": "vllm",
            "root": root,
            "parent": parent,
            "max_model_len": self._max_model_len if parent is None else None,
            "permission": [self._permission(now)],
        }

    def _permission(self, now: int) -> dict[str, Any]:
        return {
            "id": f"modelperm-{self._new_id()}",
            "object": "model_permission",
            "created": now,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
