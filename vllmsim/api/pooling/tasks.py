# -*- test-case-name: tests.api.pooling.test_tasks -*-
"""``/pooling`` and ``/classify``, as vLLM 0.33 reads and writes them.

A vLLM pools for the task of its model alone; this server does so for any of four.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import orjson
from attrs import frozen

from vllmsim.api.body import Head, read_object
from vllmsim.api.pooling.inputs import InputBody, PoolingCall, PoolingReading, PoolingSettings, Reply, read_inputs
from vllmsim.api.pooling.vectors import VectorBody, VectorWriter
from vllmsim.errors import InvalidParameter
from vllmsim.pooling import LABELS, Pooled, PoolingRequest, PoolingTask

_TASKS: Final[tuple[PoolingTask, ...]] = ("embed", "classify", "token_embed", "token_classify")
"""What this server does, the default first."""


class PoolingTaskBody(VectorBody):
    """A pooling request."""

    task: Literal["embed", "classify", "token_embed", "token_classify", "plugin", "embed&token_classify"] | None = None


@frozen(eq=False)
class PoolingTaskDialect:
    """Reads pooling requests."""

    _settings: PoolingSettings

    def parse(self, body: bytes, head: Head) -> PoolingCall:
        """Read a request; see :class:`vllmsim.api.pooling.inputs.PoolingDialect`."""
        settings = self._settings
        read = read_inputs(
            PoolingTaskBody, read_object(body, head), body, trusted=self._settings.settings.trusts_templates
        )
        if read.dimensions is not None:
            raise InvalidParameter("dimensions is currently not supported", "dimensions")
        task = next((task for task in _TASKS if task == (read.task or _TASKS[0])), None)
        if task is None:
            raise InvalidParameter(f"Unsupported task: {read.task!r} Supported tasks: {_TASKS}", "task")
        reading = settings.reading("pooling", head, read)
        request = PoolingRequest(
            task,
            settings.inputs(read.prompts(), settings.cuts(read)),
            settings.dimensions,
            activation=read.use_activation is not False,
            behaviour=settings.settings.behaviour,
        )
        return PoolingCall(request, VectorWriter(reading, read, "pooling", "data"), reading)


@frozen(eq=False)
class ClassificationDialect:
    """Reads classification requests."""

    _settings: PoolingSettings

    def parse(self, body: bytes, head: Head) -> PoolingCall:
        """Read a request; see :class:`vllmsim.api.pooling.inputs.PoolingDialect`."""
        settings = self._settings
        read = read_inputs(InputBody, read_object(body, head), body, trusted=self._settings.settings.trusts_templates)
        reading = settings.reading("classify", head, read)
        request = PoolingRequest(
            "classify",
            settings.inputs(read.prompts(), settings.cuts(read)),
            activation=read.use_activation is not False,
            behaviour=settings.settings.behaviour,
        )
        return PoolingCall(request, ClassificationWriter(reading), reading)


@frozen(eq=False)
class ClassificationWriter:
    """Writes the label of each input."""

    _reading: PoolingReading

    def __call__(self, pooled: Sequence[Pooled]) -> Reply:
        """Write the answer."""
        return self._reading.listing(pooled, self._items(pooled))

    def _items(self, pooled: Sequence[Pooled]) -> Iterator[bytes]:
        for index, each in enumerate(pooled):
            probabilities = list(each.vectors[0])
            label = LABELS[probabilities.index(max(probabilities))]
            yield orjson.dumps(
                {"index": index, "label": label, "probs": probabilities, "num_classes": len(probabilities)}
            )
