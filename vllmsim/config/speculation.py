# -*- test-case-name: tests.config.test_speculation -*-
"""Speculative decoding, as vLLM's ``speculative-config`` says it.

vLLM's members are read with vLLM's rules. Most of them say how guesses are made, and mean nothing here. One is our own:
``acceptance_rate``, since no guess is ever compared with anything. vLLM too can leave that to chance, with
``rejection_sample_method`` ``synthetic``; then its members say how often tokens are accepted.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from vllmsim.speculation import Speculation

USUAL_RATE: Final = 0.7
"""How many tokens in one are accepted behind others that are, unless something else is said."""
MOST_TOKENS: Final = 1024
_SUFFIX_TOKENS: Final = 24
"""vLLM's `suffix_decoding_max_tree_depth`, which is how many tokens are guessed unless it is said."""
_HIDDEN: Final = frozenset({"eagle", "eagle3", "mtp"})
"""Methods whose guesses depend on what the model has computed of the token before, and on the token itself."""
_BLOCKWISE: Final = frozenset({"dflash", "dspark"})
"""Methods that guess all tokens in a pass of its own, from what the model has computed."""
_ALONE: Final = frozenset({"mtp", "dspark", "ngram", "ngram_gpu", "suffix", "extract_hidden_states"})
"""Methods that need no `model`."""
_MULTI_TOKEN: Final = (
    "bailing_hybrid_mtp", "bailing_hybrid_v3_mtp", "deepseek_mtp", "dots3_note_mtp", "ernie_mtp", "exaone4_5_mtp",
    "exaone_moe_mtp", "gemma4_mtp", "glm4_moe_lite_mtp", "glm4_moe_mtp", "glm5_next_mtp", "glm_ocr_mtp", "hy_v3_mtp",
    "hy_v4_mtp", "inkling_mtp", "kimi_k3_mtp", "longcat_flash_mtp", "mimo_mtp", "mimo_v2_mtp", "minimax_m3_mtp",
    "nemotron_h_mtp", "pangu_ultra_moe_mtp", "qwen3_5_mtp", "qwen3_next_mtp", "qwen4_exp_mtp", "step3p5_mtp",
    "step5_mtp",
)  # fmt: skip
"""Older names of mtp, by model."""
METHODS: Final = (
    "custom_class", "dflash", "draft_model", "dspark", "eagle", "eagle3", "extract_hidden_states", "mtp", "ngram",
    "ngram_gpu", "suffix", *_MULTI_TOKEN,
)  # fmt: skip
_SAMPLERS: Final = ("standard", "synthetic", "block", "fly")
_BY_NAME: Final = (("eagle-", "eagle"), ("eagle3", "eagle3"), ("dflash", "dflash"), ("dspark", "dspark"))
"""What the name of a model has in it, and the method that this means, if none is named."""
_UNUSED: Final = frozenset({
    "attention_backend", "code_revision", "disable_padded_drafter_batch", "draft_lm_head_quantization",
    "draft_load_config", "draft_sample_method", "draft_tensor_parallel_size", "dspark_draft_topk",
    "enable_adaptive_verification", "enforce_eager", "fly_entropy_threshold", "fly_entropy_top_k",
    "fly_window_size", "index_share_for_mtp_iteration", "kv_cache_dtype", "max_model_len", "moe_backend",
    "prompt_lookup_max", "prompt_lookup_min", "quantization", "revision",
    "suffix_decoding_max_cached_requests", "suffix_decoding_max_spec_factor", "suffix_decoding_max_tree_depth",
    "suffix_decoding_min_token_prob", "use_heterogeneous_vocab", "use_local_argmax_reduction", "xpress_topc",
})  # fmt: skip
"""vLLM's members that mean nothing here."""


def read_speculation(
    members: Mapping[str, Any] | None, flags: Mapping[str, object], *, transfers: bool, ranks: int
) -> Speculation | None:
    """Read ``speculative-config``.

    :param flags: members that are given as flags of their own; None for those that are not.
    :param transfers: whether KV blocks are given to other servers, or taken from them.
    :param ranks: how many data-parallel ranks there are in all.
    :return: None if no tokens are guessed.
    :raises ValueError: naming every member that is wrong.
    """
    given = {name.replace("-", "_"): value for name, value in (members or {}).items() if value is not None}
    for name, value in flags.items():
        if value is not None and name in given:
            raise ValueError(f"it has its own {name}, and there is a flag for it too")
        given |= {} if value is None else {name: value}
    if not given:
        return None
    if faults := list(_faults(given)):
        raise ValueError("; ".join(faults))
    method = _method(given)
    count = given.get("num_speculative_tokens", _SUFFIX_TOKENS if method == "suffix" else None)
    if count is None:
        raise ValueError("it needs num_speculative_tokens: how many tokens are guessed at a time")
    if method not in _ALONE and "model" not in given:
        raise ValueError(f"with the method {method} it needs a model")
    # Otherwise vLLM hashes the token behind each block with it.
    drops = transfers or given.get("disable_lookahead_block_hashes", False)
    return Speculation(
        _rates(given, count),
        lookahead=_lookahead(method, count),
        drops_block=method in _HIDDEN and drops and not given.get("disable_eagle_block_drop", False),
        slots=_slots(method, count, parallel=given.get("parallel_drafting", False)),
        # vLLM's ranks go on together, and must guess alike.
        sizes=_sizes(given, count) if ranks == 1 else (),
    )


def _sizes(given: Mapping[str, Any], count: int) -> tuple[tuple[int, int], ...]:
    """Find how many tokens are guessed behind steps of how many sequences.

    :raises ValueError: when it is said wrongly.
    """
    listed = sorted(given.get("num_speculative_tokens_per_batch_size", ()))
    last = 0
    for first, end, _ in listed:
        if not last < first <= end or (not last and first > 1):
            raise ValueError("num_speculative_tokens_per_batch_size must begin with 1, and its ranges must not meet")
        last = end
    return tuple((first, min(tokens, count)) for first, _, tokens in listed)


def _lookahead(method: str, count: int) -> int:
    """Count the tokens whose keys and values are written by what guesses, as vLLM does."""
    if method == "dflash":
        return count + 1
    return count if method in {*_HIDDEN, *_BLOCKWISE, "draft_model"} else 0


def _slots(method: str, count: int, *, parallel: bool) -> int:
    """Count the places that guesses take beside a sequence's tokens, as vLLM does."""
    if method in _BLOCKWISE:
        return 0
    if method == "draft_model":
        return count if parallel else 1
    return count - 1 if parallel else 0


def _method(given: Mapping[str, Any]) -> str:
    """Find the method, which may follow from the model's name."""
    method, model = given.get("method"), given.get("model", "")
    if method is not None:
        return "mtp" if method in _MULTI_TOKEN else str(method)
    if model in {"ngram", "[ngram]"}:
        return "ngram"
    parts = model.split(".")
    if len(parts) > 1 and all(map(str.isidentifier, parts)):
        return "custom_class"
    return next((method for part, method in _BY_NAME if part in model.lower()), "draft_model")


def _rates(given: Mapping[str, Any], count: int) -> tuple[float, ...]:
    """Find how often the token at each position is accepted.

    :raises ValueError: when it is said wrongly.
    """
    rates = given.get("synthetic_acceptance_rates")
    length, own = given.get("synthetic_acceptance_length"), given.get("acceptance_rate")
    synthetic = given.get("rejection_sample_method") == "synthetic"
    if synthetic and (rates is None) == (length is None):
        raise ValueError("synthetic needs one of synthetic_acceptance_rates and synthetic_acceptance_length")
    if not synthetic and (rates is not None or length is not None):
        raise ValueError("synthetic_acceptance_rates and _length are for rejection_sample_method synthetic alone")
    if synthetic and own is not None:
        raise ValueError("acceptance_rate is there, and synthetic says the same")
    if length is not None:
        if not 1 <= length <= count + 1:
            raise ValueError(f"synthetic_acceptance_length must be from 1 to {count + 1}")
        # As many tokens as can be are always accepted, and no others but one.
        return tuple(min(1.0, max(0.0, length - 1 - position)) for position in range(count))
    if rates is None and not isinstance(own, list):
        each = USUAL_RATE if own is None else own
        return tuple(each ** (position + 1) for position in range(count))
    name = "acceptance_rate" if rates is None else "synthetic_acceptance_rates"
    listed: list[float] = given[name]
    if len(listed) != count:
        raise ValueError(f"{name} must have {count} numbers, one for each token that is guessed")
    if any(later > earlier for earlier, later in pairwise(listed)):
        raise ValueError(f"{name} must not grow: a token is accepted only if those before it are")
    return tuple(map(float, listed))


def _faults(given: Mapping[str, Any]) -> Iterator[str]:
    for name, value in given.items():
        if name == "tensor_parallel_size":
            yield "tensor_parallel_size is none; draft_tensor_parallel_size may be meant"
        elif name in _MEMBERS:
            is_allowed, allowed = _MEMBERS[name]
            if not is_allowed(value):
                yield f"{name} must be {allowed}, not {value!r}"
        elif name not in _UNUSED:
            yield f"{name} is no member of it"
    least, most = given.get("prompt_lookup_min"), given.get("prompt_lookup_max")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield f"prompt_lookup_min, which is {least}, must not be above prompt_lookup_max, which is {most}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_share_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_share, value))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_TOKENS


def _is_schedule(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_range, value))


def _is_range(value: object) -> bool:
    """Tell whether something may be a range of sizes, and how many tokens go with it."""
    if not isinstance(value, list) or len(value) != len(("first", "last", "tokens")):
        return False
    return all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in value)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_MEMBERS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "acceptance_rate": (
        lambda value: _is_share(value) or _is_share_list(value),
        "a number from 0 to 1, or a list of such",
    ),
    "disable_eagle_block_drop": (_is_flag, "true or false"),
    "disable_lookahead_block_hashes": (_is_flag, "true or false"),
    "method": (lambda value: value in METHODS, f"one of {', '.join(METHODS)}"),
    "model": (lambda value: isinstance(value, str) and value != "", "text, and not empty"),
    "num_speculative_tokens": (_is_count, f"an integer from 1 to {MOST_TOKENS}"),
    "num_speculative_tokens_per_batch_size": (
        _is_schedule,
        "a list of lists, each the first and the last size of a batch, and how many tokens",
    ),
    "parallel_drafting": (_is_flag, "true or false"),
    "rejection_sample_method": (lambda value: value in _SAMPLERS, f"one of {', '.join(_SAMPLERS)}"),
    "synthetic_acceptance_length": (_is_number, "a number"),
    "synthetic_acceptance_rates": (_is_share_list, "a list of numbers from 0 to 1"),
}
