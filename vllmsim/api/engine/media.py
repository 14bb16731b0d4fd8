# -*- test-case-name: tests.api.engine.test_media -*-
"""Images, sounds and films in requests to ``VllmEngine``.

There are two ways. A router that has prepared media itself sends a batch for each kind: tensors, hashes, and where the
tokens are in the prompt that stand for each item (``mm_inputs``, ``extra_mm_inputs``). Where the prefill has been run
elsewhere, the pixels may be left out, or all tensors; what is left then are the hashes, which keep the KV blocks of
prompts apart that differ in nothing else. Another router sends ``media_refs``, addresses which the server is to fetch.

Nothing is fetched here, no shared memory is opened, and of tensors nothing matters but that they have the size that
they should have.
"""

from collections.abc import Iterator, Sequence
from math import prod
from operator import attrgetter
from typing import Final, get_args
from urllib.parse import urlsplit

from smg_grpc_proto.generated import common_pb2
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.errors import InvalidRequest
from vllmsim.inference import Media, MediaKind, Span
from vllmsim.media import media_hashes, place_media

_MOST_BATCHES: Final = 16
_MOST_ITEMS: Final = 4096
_LONGEST_HASH: Final = 256
_MOST_DIMENSIONS: Final = 64
_WIDTHS: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "uint8": 1, "int64": 8, "uint32": 4}
"""How many bytes the elements of tensors have."""
_KINDS: Final[dict[int, MediaKind]] = {
    int(common_pb2.Modality.Value(kind.upper())): kind for kind in get_args(MediaKind)
}
_MODALITIES: Final[dict[str, int]] = {kind: number for number, kind in _KINDS.items()}
SCHEMES: Final = ("data", "http", "https")
"""What the addresses of media may begin with."""


def batches_of(request: pb.GenerateRequest) -> list[pb.MultimodalInputs]:
    """List what a request's router has prepared.

    :raises InvalidRequest: when there is too much of it.
    """
    batches = [request.mm_inputs] if request.HasField("mm_inputs") else []
    if len(batches) + len(request.extra_mm_inputs) > _MOST_BATCHES:
        raise InvalidRequest(f"There are {len(request.extra_mm_inputs)} extra_mm_inputs; {_MOST_BATCHES - 1} may be.")
    batches += request.extra_mm_inputs
    if sum(max(len(batch.mm_hashes), len(batch.mm_placeholders)) for batch in batches) > _MOST_ITEMS:
        raise InvalidRequest(f"There may be {_MOST_ITEMS} mm_hashes and mm_placeholders at most, in all batches.")
    for batch in batches:
        if any(len(each) > _LONGEST_HASH for each in batch.mm_hashes):
            raise InvalidRequest(f"mm_hashes must have at most {_LONGEST_HASH} characters each.")
    return batches


def prepared(batches: Sequence[pb.MultimodalInputs]) -> list[pb.MultimodalInputs]:
    """List the batches that have tensors."""
    return [batch for batch in batches if batch.HasField("pixel_values") or batch.model_specific_tensors]


def check_tensors(batches: Sequence[pb.MultimodalInputs], *, fetched: bool) -> None:
    """Check tensors.

    :param fetched: whether the KV blocks of the prompt come from elsewhere, so that no pixels are needed.
    :raises InvalidRequest: for one that has not its size, and for batches that cannot be encoded.
    """
    if not fetched and not all(batch.HasField("pixel_values") for batch in batches):
        raise InvalidRequest(
            "multimodal payload carries grid tensors but no pixel_values and no kv_transfer_params; "
            "a pixel-less leg requires remote KV"
        )
    for batch in batches:
        if batch.HasField("pixel_values"):
            _check_tensor(batch.pixel_values)
        for tensor in batch.model_specific_tensors.values():
            _check_tensor(tensor)


def _check_tensor(tensor: pb.TensorData) -> None:
    payload = tensor.WhichOneof("payload")
    if payload is None:
        raise InvalidRequest("TensorData payload is required")
    if payload == "remote":
        raise InvalidRequest("TensorData.remote payload is not implemented yet")
    width = _WIDTHS.get(tensor.dtype)
    if width is None:
        raise InvalidRequest(f"Unsupported proto tensor dtype: {tensor.dtype[:64]!r}")
    if len(tensor.shape) > _MOST_DIMENSIONS:
        raise InvalidRequest(f"A tensor has {len(tensor.shape)} dimensions; {_MOST_DIMENSIONS} are the most.")
    shape = list(tensor.shape)
    expected, got = prod(shape) * width, len(tensor.inline) if payload == "inline" else tensor.shm.nbytes
    if got != expected:
        raise InvalidRequest(
            f"TensorData byte length mismatch for dtype={tensor.dtype!r}, shape={shape}: expected {expected}, got {got}"
        )


def spans_of(batches: Sequence[pb.MultimodalInputs], tokens: int) -> tuple[Span, ...]:
    """Find the media that have both a hash and a place.

    :param tokens: how many the prompt has.
    :raises InvalidRequest: when a place is none, or one's that another has.
    """
    spans = sorted(_places(batches), key=attrgetter("offset"))
    end = 0
    for span in spans:
        if span.length < 1 or span.offset + span.length > tokens:
            raise InvalidRequest("mm_placeholders must remain within the prompt's input_ids")
        if span.offset < end:
            raise InvalidRequest("mm_placeholders must not overlap")
        end = span.offset + span.length
    return tuple(spans)


def _places(batches: Sequence[pb.MultimodalInputs]) -> Iterator[Span]:
    for batch in batches:
        kind = _KINDS.get(batch.modality, "image")
        for identifier, place in zip(batch.mm_hashes, batch.mm_placeholders, strict=False):
            yield Span(identifier, place.offset, place.length, kind)


def identity_salt(batches: Sequence[pb.MultimodalInputs]) -> str | None:
    """Make what keeps blocks apart where nothing but the hashes of media is left; None where not even those are."""
    hashes = [each for batch in batches for each in batch.mm_hashes]
    return f"mm:{','.join(hashes)}" if hashes else None


def referred(refs: pb.MediaRefs, tokens: int) -> tuple[Span, ...]:
    """Place the media that a request refers to: they share the prompt evenly.

    :param tokens: how many the prompt has.
    :raises InvalidRequest: for a kind or an address that is none.
    """
    if len(refs.items) > _MOST_ITEMS:
        raise InvalidRequest(f"media_refs has {len(refs.items)} items; {_MOST_ITEMS} are the most.")
    media = [_media(number, item) for number, item in enumerate(refs.items)]
    if not media:
        raise InvalidRequest("media_refs is set but carries no items")
    return place_media(media, list(media_hashes(media)), tokens)


def _media(number: int, item: pb.MediaRef) -> Media:
    kind = _KINDS.get(item.modality)
    if kind is None:
        raise InvalidRequest(f"media_refs[{number}]: unsupported modality {_modality_name(item.modality)}")
    if not item.url:
        raise InvalidRequest(f"media_refs[{number}]: empty url")
    scheme = _scheme(item.url)
    if scheme not in SCHEMES:
        raise InvalidRequest(
            f"media_refs[{number}]: url scheme '{scheme[:32] or 'none'}' is not accepted by this worker "
            f"(accepted: {','.join(SCHEMES)}); file:// requires --allowed-local-media-path"
        )
    return Media(kind, item.url)


def _modality_name(number: int) -> str:
    try:
        return common_pb2.Modality.Name(number)
    except ValueError:
        return str(number)


def _scheme(url: str) -> str:
    # Of data of megabytes, the beginning says enough.
    try:
        return urlsplit(url[:256]).scheme
    except ValueError:
        return ""


def identify(ids: Sequence[int], media: Sequence[Span]) -> pb.MediaIdentity:
    """Tell what a decode server is to be told of media that it need not fetch again.

    :param ids: the prompt's tokens.
    :param media: what some of them stand for, at least one.
    """
    batches: dict[str, pb.MultimodalInputs] = {}
    for span in media:
        batch = batches.setdefault(span.kind, pb.MultimodalInputs(modality=_MODALITIES.get(span.kind, 0)))
        batch.mm_hashes.append(span.identifier)
        batch.mm_placeholders.add(offset=span.offset, length=span.length)
    first, *others = batches.values()
    return pb.MediaIdentity(prompt_token_ids=ids, mm_inputs=first, extra_mm_inputs=others)
