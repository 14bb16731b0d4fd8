# -*- test-case-name: tests.config.test_schema -*-
"""Every option that the program itself has, described once.

:class:`Configuration` is what the program reads. Each of its fields carries the facts of one option, and is declared
in the module of its group, below :mod:`vllmsim.config.options`. Flags, YAML keys, environment variables, ``--help``,
``--print-config``, the sample file and the documentation's table all come from them. Flags of ``vllm serve`` that mean
nothing here are in :mod:`vllmsim.config.vllm_flags`.
"""

from functools import cache
from typing import Any

import attrs
from attrs import frozen

from vllmsim.config.datasets import Dataset
from vllmsim.config.option import Option
from vllmsim.config.options.access import AccessOptions
from vllmsim.config.options.answers import AnswerOptions
from vllmsim.config.options.cache import CacheOptions
from vllmsim.config.options.model import ModelOptions
from vllmsim.config.options.observing import ObservingOptions
from vllmsim.config.options.plugins import PluginOptions
from vllmsim.config.options.scheduling import SchedulingOptions
from vllmsim.config.options.serving import ServingOptions
from vllmsim.config.options.speculation import SpeculationOptions
from vllmsim.config.options.steps import MODELS, USUAL_STEP_TOKENS, StepOptions
from vllmsim.config.options.steptime import StepTimeOptions
from vllmsim.config.options.tls import TlsOptions
from vllmsim.config.speculation import read_speculation
from vllmsim.config.transfer import KVTransfer, read_transfer
from vllmsim.speculation import Speculation


@frozen(kw_only=True, slots=False)
class Configuration(  # type: ignore[misc] # mypy compares what would make each of them alone
    ServingOptions,
    AccessOptions,
    TlsOptions,
    ModelOptions,
    AnswerOptions,
    SchedulingOptions,
    SpeculationOptions,
    StepOptions,
    StepTimeOptions,
    CacheOptions,
    ObservingOptions,
    PluginOptions,
):
    """The effective value of every option that the program itself has. Durations are seconds."""

    @property
    def served_names(self) -> tuple[str, ...]:
        """The model's names, at least one."""
        return self.served_model_name or (self.model,)

    @property
    def usual_dataset(self) -> Dataset | None:
        """The dataset of every model that has none of its own, if there is one."""
        dataset = Dataset(
            self.dataset_path, self.dataset_url, self.dataset_sha256, self.dataset_in_memory, self.dataset_table_name
        )
        return dataset if dataset.path else None

    @property
    def model_datasets(self) -> dict[str, Dataset]:
        """The datasets of single models, complete, by the name that answers carry."""
        usual = Dataset("", in_memory=self.dataset_in_memory, table_name=self.dataset_table_name)
        return {
            self.served_names[0] if name in self.served_names else name: dataset.completed(usual)
            for name, dataset in (self.datasets or {}).items()
        }

    @property
    def caches_prefixes(self) -> bool:
        """Whether there is a KV cache in which prefixes are found again."""
        return self.enable_kvcache and self.enable_prefix_caching is not False

    @property
    def steps(self) -> bool:
        """Whether the rank is an engine that goes in steps."""
        return self.scheduling_model == MODELS[1]

    @property
    def chunks_prefills(self) -> bool:
        """Whether a prompt may be spread over steps."""
        return self.enable_chunked_prefill is not False

    @property
    def batched_tokens(self) -> int:
        """The most tokens that the model takes in a step."""
        if self.max_num_batched_tokens is not None:
            return self.max_num_batched_tokens
        whole = 0 if self.chunks_prefills else self.max_model_len
        return max(USUAL_STEP_TOKENS, self.max_num_seqs, whole)

    @property
    def step_tokens(self) -> int:
        """The most tokens of a step."""
        most = self.batched_tokens
        return most if self.max_num_scheduled_tokens is None else min(most, self.max_num_scheduled_tokens)

    @property
    def kv_transfer(self) -> KVTransfer:
        """How KV blocks are given to other servers, and taken from them."""
        return read_transfer(self.kv_transfer_config)

    @property
    def speculation(self) -> Speculation | None:
        """How many tokens are guessed ahead, if any are, and how many of them are right."""
        flags = {"method": self.spec_method, "model": self.spec_model, "num_speculative_tokens": self.spec_tokens}
        return read_speculation(
            self.speculative_config, flags, transfers=self.kv_transfer_config is not None, ranks=self.data_parallel_size
        )

    @property
    def ranks(self) -> range:
        """The data-parallel ranks of this server, at least one."""
        own, first = self.data_parallel_rank, self.data_parallel_start_rank
        if own >= 0:
            return range(own, own + 1)
        return range(first, first + max(1, self.data_parallel_size_local or self.data_parallel_size - first))

    @property
    def balances(self) -> bool:
        """Whether this server has one port for several ranks, among which it chooses for each request."""
        return (self.data_parallel_internal_lb or self.data_parallel_hybrid_lb) and len(self.ranks) > 1

    @property
    def api_servers(self) -> int:
        """How many processes of a vLLM would take requests: with one port for several ranks, as many as these."""
        count = self.api_server_count
        return (len(self.ranks) if self.balances else 1) if count is None else count

    @property
    def ports(self) -> range:
        """The ports of this server, from that of its first rank on."""
        return range(self.port, self.port + (1 if self.balances else len(self.ranks)))

    def port_of(self, rank: int) -> int:
        """Find the port of a rank: they count up from the first rank of this server, unless all have one."""
        return self.port if self.balances else self.port + rank - self.ranks.start


@cache
def own_options() -> tuple[Option, ...]:
    """List the options that :class:`Configuration` has, in its order."""
    return tuple(_describe(attribute) for attribute in attrs.fields(Configuration))


def _describe(attribute: "attrs.Attribute[Any]") -> Option:
    return Option(name=attribute.name.replace("_", "-"), default=attribute.default, **attribute.metadata["facts"])
