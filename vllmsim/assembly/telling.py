# -*- test-case-name: tests.assembly.test_telling -*-
"""What clients of VllmEngine are told of the model, the tokenizer and the server. Imported with what speaks gRPC."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred

from vllmsim.api.engine.embedding import EmbedDialect
from vllmsim.api.engine.generate import GenerateDialect
from vllmsim.api.engine.modelinfo import ModelFacts
from vllmsim.api.engine.serverinfo import ServerSetup, ServerState
from vllmsim.assembly.once import Once
from vllmsim.assembly.surfaces import Surfaces
from vllmsim.assembly.tokenizing import BUILTIN
from vllmsim.assembly.tongue import Tongue, find_tongue, unthinking
from vllmsim.config.transfer import mover_of
from vllmsim.grpc.embedding import EmbedCalls
from vllmsim.grpc.engine import GenerateCalls
from vllmsim.grpc.inquiries import InquiryCalls
from vllmsim.grpc.operations import OperationCalls
from vllmsim.grpc.service import Implementation
from vllmsim.identity import server_engine_id
from vllmsim.interfaces import ITokenizer
from vllmsim.tokenization.bundle import pack, read_files
from vllmsim.tokenization.choice import Choice, choose
from vllmsim.tokenization.modelfiles import ModelFiles, describe_model, number_type

_PAIRING: Final = "SMG_PAIRING_PROTOCOL"
_BFLOAT16: Final = "bfloat16"
_BUILTIN: Final = frozenset({"builtin", "words"})
"""Which tokenizers are the built-in one for these clients."""


@define(eq=False)
class Telling:
    """Tells it for one rank, or for those that share its port."""

    _surfaces: Surfaces
    _choice: Choice = field(init=False)
    """Which tokenizer there is."""
    _files: Once[ModelFiles] = field(init=False)
    archive: Callable[[], Deferred[tuple[bytes, str]]] | None = field(init=False)
    """Finds the archive of the tokenizer's files, and its SHA-256; None where it has no files."""

    _tongue: Once[Tongue] | None = field(init=False)

    @_choice.default
    def _choose(self) -> Choice:
        try:
            return choose(self._surfaces.configuration, self._surfaces.environ)
        except ValueError:
            # Its file was there at the start.
            return Choice("path")

    @_tongue.default
    def _find_tongue(self) -> Once[Tongue] | None:
        return find_tongue(self._choice, self._surfaces.defer_to_thread)

    @_files.default
    def _find_files(self) -> Once[ModelFiles]:
        surfaces = self._surfaces
        return Once(surfaces.defer_to_thread, partial(describe_model, surfaces.configuration, surfaces.environ))

    @archive.default
    def _find_archive(self) -> Callable[[], Deferred[tuple[bytes, str]]] | None:
        return None if self._tokenizer_place() is None else Once(self._surfaces.defer_to_thread, self._pack)

    @property
    def tokenizer(self) -> Callable[[], Awaitable[ITokenizer]] | None:
        """Finds the tokenizer in whose tokens clients speak; None where it is the rank's own."""
        tongue = self._tongue
        if tongue is None:
            return None

        async def find() -> ITokenizer:
            return (await tongue()).tokenizer

        return find

    async def model(self) -> ModelFacts:
        """Find what there is to tell of the model."""
        surfaces, files = self._surfaces, await self._files()
        c, tokenizer = surfaces.configuration, surfaces.tokenizer
        size = tokenizer.vocabulary_size
        if self._tongue is not None:
            tongue = await self._tongue()
            tokenizer, size = tongue.tokenizer, tongue.vocabulary_size
        # Ids mean something where the tokenizer is the model's.
        own = self._choice.kind == "path"
        return ModelFacts(
            path=c.model,
            served_name=c.served_names[0],
            tokenizer_path=c.tokenizer or c.model,
            generates=c.runner != "pooling",
            max_model_len=c.max_model_len,
            vocabulary_size=(files.vocabulary_size if own else None) or size,
            sees=not c.language_model_only,
            kind=files.kind,
            architectures=files.architectures,
            ends=(files.ends if own else ()) or (tokenizer.eos_id,),
            pad=files.pad if own else 0,
            bos=files.bos if own else 0,
            sampling=files.sampling,
        )

    async def setup(self) -> ServerSetup:
        """Find how the server is set up."""
        surfaces = self._surfaces
        c, files = surfaces.configuration, await self._files()
        connector, engine_id = mover_of(c.kv_transfer_config or {})
        own = (engine_id or server_engine_id(c, surfaces.seed)) if connector else ""
        dtype = number_type(c.dtype)
        return ServerSetup(
            connector=connector,
            role=(c.kv_transfer.role or "") if connector else "",
            engine_id=own,
            ranks=c.data_parallel_size,
            cache_dtype=c.kv_cache_dtype,
            block_size=c.block_size,
            attention_backend=c.attention_backend or "",
            model_dtype=(files.dtype or _BFLOAT16) if dtype == "auto" else dtype,
            pairing=surfaces.environ.get(_PAIRING, "").strip(),
            sees=not c.language_model_only,
            reasoning_parser=c.reasoning_parser,
        )

    def state(self) -> ServerState:
        """Tell how the server is now."""
        surfaces = self._surfaces
        control, loads = surfaces.doors.control, surfaces.doors.loads()
        figures = [each for rank in loads.ranks if (each := loads.figures(rank)) is not None]
        silences = [each.silence for each in figures if each.silence is not None]
        return ServerState(
            in_flight=control.in_flight(),
            paused=control.paused() or control.sleeping(),
            last_output=surfaces.clocks.epoch() - min(silences) if silences else 0.0,
            uptime=surfaces.clocks.simulated.seconds() - surfaces.began,
            most_running=surfaces.live.current.max_num_seqs,
        )

    def _tokenizer_place(self) -> Path | None:
        """Find where the tokenizer's files are."""
        return Path(BUILTIN) if self._choice.kind in _BUILTIN else self._choice.path

    def _pack(self) -> tuple[bytes, str]:
        """Make the archive; to be called in a thread."""
        place = self._tokenizer_place()
        assert place is not None
        files = read_files(place)
        if self._choice.kind in _BUILTIN and not self._surfaces.configuration.reasoning_parser:
            files = unthinking(files)
        bundle = pack(files)
        return bundle.data, bundle.sha256


def engine_calls(surfaces: Surfaces) -> Iterator[Implementation]:
    """Make the calls of VllmEngine, but for KV events."""
    c, telling = surfaces.configuration, Telling(surfaces)
    generate = surfaces.latest(lambda settings: GenerateDialect(settings, c.max_model_len))
    yield from surfaces.chosen([GenerateCalls(surfaces.answering, generate, telling.tokenizer)], [])
    embed = surfaces.pools(lambda settings: EmbedDialect(settings, surfaces.embeds))
    yield EmbedCalls(surfaces.pool_answering, embed)
    doors = surfaces.doors
    profiler = surfaces.profiler if c.profiler_config else None
    yield OperationCalls(surfaces.clocks.real, doors.health, doors.control, profiler)
    yield InquiryCalls(surfaces.clocks.epoch, doors.loads, telling.model, telling.setup, telling.state, telling.archive)
