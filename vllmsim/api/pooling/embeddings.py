# -*- test-case-name: tests.api.pooling.test_embeddings -*-
"""``/v1/embeddings``, as vLLM 0.33 reads and writes it.

A vLLM whose model is no matryoshka refuses ``dimensions``; this server cuts vectors as short, or makes them as long, as
is asked for.
"""

from typing import Final

from attrs import frozen

from vllmsim.api.body import Head, read_object
from vllmsim.api.pooling.inputs import PoolingCall, PoolingSettings, read_inputs
from vllmsim.api.pooling.vectors import VectorBody, VectorWriter
from vllmsim.errors import InvalidParameter
from vllmsim.pooling import PoolingRequest

MOST_DIMENSIONS: Final = 65536
"""The longest vector."""


def check_dimensions(dimensions: int, param: str) -> int:
    """Check how long vectors are to be.

    :return: the same.
    :raises InvalidParameter: when they cannot be so short or so long.
    """
    if dimensions < 1:
        raise InvalidParameter("Dimensions must be greater than 0", param, dimensions)
    if dimensions > MOST_DIMENSIONS:
        raise InvalidParameter(f"Dimensions must be at most {MOST_DIMENSIONS}", param, dimensions)
    return dimensions


@frozen(eq=False)
class EmbeddingDialect:
    """Reads embedding requests."""

    _settings: PoolingSettings

    def parse(self, body: bytes, head: Head) -> PoolingCall:
        """Read a request; see :class:`vllmsim.api.pooling.inputs.PoolingDialect`."""
        settings = self._settings
        read = read_inputs(VectorBody, read_object(body, head), body, trusted=self._settings.settings.trusts_templates)
        reading = settings.reading("embd", head, read)
        dimensions = settings.dimensions if read.dimensions is None else check_dimensions(read.dimensions, "dimensions")
        request = PoolingRequest(
            "embed",
            settings.inputs(read.prompts(), settings.cuts(read)),
            dimensions,
            behaviour=settings.settings.behaviour,
        )
        return PoolingCall(request, VectorWriter(reading, read, "embedding", "embedding"), reading)
