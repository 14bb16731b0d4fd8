# -*- test-case-name: tests.api.engine.test_modelinfo -*-
"""``VllmEngine.GetModelInfo``: what a gateway is told of the model.

Ids of tokens are 32-bit integers with a sign there; what does not fit is not told.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from attrs import field, frozen
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

_MOST: Final = (1 << 31) - 1
_MOST_UNSIGNED: Final = (1 << 32) - 1
_DEFAULTS: Final = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""The sampling parameters whose defaults are told, in the order in which they are."""


@frozen(kw_only=True)
class ModelFacts:
    """What there is to tell of a model.

    :param path: its name, or its folder.
    :param served_name: the first name that requests may use.
    :param tokenizer_path: where its tokenizer is from.
    :param generates: whether it makes text; else it pools.
    :param max_model_len: the most tokens of a prompt and its answer together.
    :param vocabulary_size: every id is below it.
    :param sees: whether prompts may have images.
    :param kind: the family of models that it is of, as ``config.json`` has it in ``model_type``.
    :param architectures: the classes that implement it.
    :param ends: the tokens that end an answer.
    :param pad: the token that fills gaps.
    :param bos: the token that begins a text.
    :param sampling: defaults of sampling parameters.
    """

    path: str
    served_name: str
    tokenizer_path: str
    generates: bool
    max_model_len: int
    vocabulary_size: int
    sees: bool
    kind: str = ""
    architectures: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()
    pad: int = 0
    bos: int = 0
    sampling: Mapping[str, Any] = field(factory=dict)


def model_info(facts: ModelFacts) -> pb.GetModelInfoResponse:
    """Write it."""
    length = min(facts.max_model_len, _MOST)
    return pb.GetModelInfoResponse(
        model_path=facts.path,
        is_generation=facts.generates,
        max_context_length=length,
        vocab_size=min(facts.vocabulary_size, _MOST_UNSIGNED),
        supports_vision=facts.sees,
        served_model_name=facts.served_name,
        tokenizer_path=facts.tokenizer_path,
        model_type=facts.kind,
        architectures=facts.architectures,
        eos_token_ids=[token for token in facts.ends if _is_told(token)],
        pad_token_id=facts.pad if _is_told(facts.pad) else 0,
        bos_token_id=facts.bos if _is_told(facts.bos) else 0,
        max_req_input_len=length,
        default_sampling_params_json=_sampling(facts.sampling),
    )


def _is_told(token: int) -> bool:
    return 0 <= token <= _MOST


def _sampling(given: Mapping[str, Any]) -> str:
    """Write defaults; nothing if there are none."""
    told = {name: given[name] for name in _DEFAULTS if given.get(name) is not None}
    return orjson.dumps(told).decode() if told else ""
