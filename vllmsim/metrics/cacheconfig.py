# -*- test-case-name: tests.metrics.test_families -*-
"""The labels of ``vllm:cache_config_info``: vLLM's cache settings, as Python prints them."""

from vllmsim.config.schema import Configuration


def cache_config_labels(configuration: Configuration) -> dict[str, str]:
    """Say how the KV cache is set up; what a simulator does not have has vLLM's default."""
    blocks, size = configuration.kv_cache_size, configuration.block_size
    values: dict[str, object] = {
        "_block_size_resolved": True,
        "block_size": size,
        "cache_dtype": configuration.kv_cache_dtype,
        "cache_hit_alignment_tokens": None,
        "effective_attention_block_size": size,
        "enable_mamba_shared_prefix_checkpoint": False,
        "enable_prefix_caching": configuration.caches_prefixes,
        "gpu_memory_utilization": configuration.gpu_memory_utilization,
        "hash_block_size": None,
        "is_attention_free": False,
        "kv_cache_dtype_skip_layers": [],
        "kv_cache_layout": None,
        "kv_cache_max_concurrency": blocks * size / configuration.max_model_len,
        "kv_cache_memory_bytes": None,
        "kv_cache_size_tokens": blocks * size,
        "kv_offloading_backend": "native",
        "kv_offloading_size": None,
        "kv_sharing_fast_prefill": False,
        "mamba_block_size": None,
        "mamba_cache_dtype": "auto",
        "mamba_cache_mode": "none",
        "mamba_page_size_padded": None,
        "mamba_ssm_cache_dtype": "float32",
        "num_cpu_blocks": None,
        "num_gpu_blocks": blocks,
        "num_gpu_blocks_override": configuration.num_gpu_blocks_override,
        "prefix_cache_retention_interval": 0,
        "prefix_caching_hash_algo": configuration.prefix_caching_hash_algo,
        "prefix_match_unit": None,
        "replayssm_buffer_len": 16,
        "simple_cpu_offload_num_blocks": None,
        "skip_page_size_padded": None,
        "sliding_window": None,
        "swa_bounded_replay": True,
        "use_kda_recoverssm": False,
        "use_replayssm": False,
        "user_specified_block_size": True,
    }
    return {name: str(value) for name, value in values.items()}
