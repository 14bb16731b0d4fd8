# -*- test-case-name: tests.assembly.test_shared -*-
"""What the ranks of one process have in common: the tokenizer, the datasets, and what else says answers."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.assembly.tokenizing import make_tokenizer
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.pluginnames import MODES
from vllmsim.config.schema import Configuration
from vllmsim.dataset.echo import EchoSource
from vllmsim.dataset.encoder import EncoderSource
from vllmsim.dataset.sentences import SentenceSource
from vllmsim.interfaces import IResponseSource, ITokenizer

if TYPE_CHECKING:
    from vllmsim.dataset.datasets import Datasets
    from vllmsim.tracing.tracing import Tracing
    from vllmsim.web.middleware.accounts import Accounts


@define(eq=False)
class Shared:
    """What is made once for all ranks.

    :param source: says what answers say, where no dataset does.
    :param sentences: says anything, such as reasoning.
    :param sources: makes both for another tokenizer.
    :param datasets: what answers are from, if there are any.
    :param tracing: has requests traced, if they are.
    """

    tokenizer: ITokenizer
    source: IResponseSource
    sentences: IResponseSource
    sources: Callable[[ITokenizer], tuple[IResponseSource, IResponseSource]]
    datasets: "Datasets | None" = None
    tracing: "Tracing | None" = None
    _accounts: "Accounts | None" = field(init=False, default=None)

    def start(self) -> None:
        """Begin, before the first rank does and after the process has become a daemon.

        :raises SystemExit: when requests cannot be traced as the environment has it; the message says why.
        """
        if self.tracing is not None:
            self.tracing.start()

    def accounts(self) -> "Accounts":
        """Find what clients have used of rate limits."""
        if self._accounts is None:
            from vllmsim.web.middleware.accounts import Accounts  # noqa: PLC0415 - few servers limit anybody

            self._accounts = Accounts()
        return self._accounts

    async def close(self) -> None:
        """Give back what was opened, when the last rank has stopped."""
        if self.tracing is not None:
            await self.tracing.stop()
        if self.datasets is not None:
            await self.datasets.close()
        await self.tokenizer.close()


def build_shared(
    configuration: Configuration,
    clocks: Clocks,
    defer_to_thread: Callable[..., Deferred[Any]],
    environ: Mapping[str, str] = os.environ,
) -> Shared:
    """Make what ranks share.

    :param clocks: that of real time provides connections, where the tokenizer needs some.
    :param defer_to_thread: runs a function off the reactor.
    :param environ: the environment.
    :raises SystemExit: when the tokenizer or a plugin cannot be had, or with all that is wrong with datasets.
    """
    tokenizer = make_tokenizer(configuration, environ, clocks, defer_to_thread)

    def sources(tokenizer: ITokenizer) -> tuple[IResponseSource, IResponseSource]:
        return _sources(configuration, tokenizer, clocks.real, defer_to_thread)

    source, sentences = sources(tokenizer)
    return Shared(
        tokenizer,
        source,
        sentences,
        sources,
        _datasets(configuration, clocks.real, defer_to_thread),
        _tracing(configuration, clocks.real, environ),
    )


def _sources(
    configuration: Configuration,
    tokenizer: ITokenizer,
    clock: IReactorTime,
    defer_to_thread: Callable[..., Deferred[Any]],
) -> tuple[IResponseSource, IResponseSource]:
    """Make what says answers where no dataset does, and what says anything, in the tokens of a tokenizer."""
    sentences = SentenceSource(tokenizer)
    if configuration.mm_encoder_only:
        return EncoderSource(tokenizer), sentences
    if configuration.mode == "echo":
        return EchoSource(tokenizer), sentences
    if configuration.mode in MODES:
        return sentences, sentences
    from vllmsim.assembly.plugging import shared_plugging  # noqa: PLC0415 - few servers have plugins

    return shared_plugging(configuration, clock, defer_to_thread).source(tokenizer, sentences), sentences


def _datasets(
    c: Configuration, clock: IReactorTime, defer_to_thread: Callable[..., Deferred[Any]]
) -> "Datasets | None":
    usual, by_model = c.usual_dataset, c.model_datasets
    if c.mm_encoder_only or not (usual or by_model):
        return None
    # SQLite takes some milliseconds, which a start without datasets can do without.
    from vllmsim.dataset.database import DatasetError  # noqa: PLC0415
    from vllmsim.dataset.datasets import Datasets  # noqa: PLC0415

    served = {*c.served_names, *(module.name for module in c.lora_modules)}
    try:
        return Datasets.open(usual, by_model, served, clock, defer_to_thread)
    except DatasetError as error:
        raise SystemExit(f"vllmsim: dataset initialization error: {error}") from error


def _tracing(c: Configuration, reactor: Any, environ: Mapping[str, str]) -> "Tracing | None":
    if not c.otlp_traces_endpoint:
        return None
    # It takes a tenth of a second, and packages that need not be there.
    from vllmsim.tracing.collector import TracingError, choose  # noqa: PLC0415

    try:
        from vllmsim.tracing.tracing import Tracing  # noqa: PLC0415
    except ValueError as error:
        # OpenTelemetry reads some of its variables when it is imported.
        raise TracingError(error) from error

    pod = {"k8s.pod.name": c.pod_name, "k8s.namespace.name": c.pod_namespace, "k8s.pod.ip": c.pod_ip}
    return Tracing(
        choose(c.otlp_traces_endpoint, environ),
        {name: value for name, value in pod.items() if value},
        reactor,
        environ=environ,
    )
