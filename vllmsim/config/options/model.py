# -*- test-case-name: tests.config.test_schema -*-
"""The model that is simulated, its adapters, and what it sees and draws."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vllmsim.config.kinds import PERCENT, Duration, Flag, Integer, Json, List, Number, Parsed, Text
from vllmsim.config.lora import LoraModule, parse_lora_module, write_lora_module
from vllmsim.config.option import option


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class ModelOptions:
    """The model that is simulated, its adapters, and what it sees and draws. Durations are seconds."""

    # fmt: off
    max_model_len: int = option("model", Integer(least=1, human=True, automatic=("auto", "-1")), 1024,
        "Context window: the most tokens of a prompt and its answer together.", unit="tokens")
    seed: int | None = option("model", Integer(), None,
        "Seed of everything random; drawn and logged at the start if not given.")
    max_logprobs: int = option("model", Integer(least=-1), 20,
        "Most alternatives per token that a request may ask log probabilities for; -1 for any number.")
    max_n_sequences: int = option("model", Integer(least=1), 16_384,
        "Most choices of one prompt that a request may ask for.", environment="VLLM_MAX_N_SEQUENCES")
    max_completion_prompts: int = option("model", Integer(least=1), 1024,
        "Most prompts of a text completion, and conversations of a batch.", environment="VLLM_MAX_COMPLETION_PROMPTS",
        live=True)
    max_answer_tokens: int = option("model", Integer(least=1), 4_194_304,
        "Most tokens that several choices of a request may tell together, counting the alternatives that log"
        " probabilities show; one choice is bounded by the context.",
        live=True)
    stream_interval: int = option("model", Integer(least=1), 1,
        "Tokens per streamed chunk after the first.", unit="tokens", live=True)
    response_role: str = option("model", Text(), "assistant",
        "Role that chat answers carry.", live=True)
    return_tokens_as_token_ids: bool = option("model", Flag(), False,
        "Show tokens as token_id:N in log probabilities.", live=True)
    enable_prompt_tokens_details: bool = option("model", Flag(), False,
        "Report cached prompt tokens in usage.", live=True)
    enable_force_include_usage: bool = option("model", Flag(), False,
        "Send usage in every chunk of every stream, whatever the request says.", live=True)
    fingerprint_mode: str = option("model", Text(choices=("full", "hash", "custom", "none")), "full",
        "What system_fingerprint shows: version and hash, the hash, a value of your own, or nothing.", live=True)
    fingerprint_value: str | None = option("model", Text(), None,
        "The value for fingerprint-mode custom.", live=True)
    tensor_parallel_size: int = option("model", Integer(least=0), 1,
        "Simulated tensor-parallel GPUs, which system_fingerprint shows, and among which step-time roofline divides a"
        " model.", aliases=("-tp",))
    pipeline_parallel_size: int = option("model", Integer(least=1), 1,
        "Simulated pipeline stages, which system_fingerprint shows.", aliases=("-pp",))
    enable_sleep_mode: bool = option("model", Flag(), False,
        "Let /sleep put the engine to sleep.")
    default_embedding_dimensions: int = option("model", Integer(least=1, most=65536), 384,
        "Length of an embedding when the request names none.", live=True)
    dtype: str = option("model", Text(required=True), "auto",
        "Number type that servers of this model tell their peers; auto is that of its config.json, or bfloat16.")
    attention_backend: str | None = option("model", Text(), None,
        "Attention kernel that servers of this model tell their peers.")
    generation_config: str = option("model", Text(required=True), "auto",
        "Where the sampling defaults are from that clients over gRPC are told: the model's folder (auto), another"
        " folder, or nowhere (vllm).")
    override_generation_config: Mapping[str, Any] = option("model", Json(), {},
        "Sampling defaults that they are told in the place of those.")
    runner: str = option("model", Text(choices=("auto", "generate", "pooling", "draft")), "auto",
        "What the server does: generate text, pool (embeddings, classes, scores), or (auto) both; draft is generate.")

    enable_lora: bool | None = option("lora", Flag(), None,
        "Show the metrics of adapters before there are any; adapters are served whatever this says.")
    max_loras: int = option("lora", Integer(least=1), 1,
        "Adapters that can run at the same time; sequences of others wait.", live=True)
    max_cpu_loras: int | None = option("lora", Integer(least=0), None,
        "Adapters kept in memory, those that run included; as many as can run if not given or 0.", live=True)
    lora_load_time: float = option("lora", Duration(), 0.0,
        "How long an adapter takes to come from disk, when it is not in memory.", unit="ms", live=True)
    lora_info_exact: bool = option("lora", Flag(), False,
        "Name in vllm:lora_requests_info those that run as running and those that wait as waiting; vLLM names all in"
        " both.", live=True)
    lora_verify_paths: bool = option("lora", Flag(), False,
        "Load adapters at run time only from directories of this server that have an adapter_config.json.", live=True)
    allow_runtime_lora_updating: bool = option("lora", Flag(), True,
        "Serve the routes that load and unload adapters; vLLM does only when asked to.",
        environment="VLLM_ALLOW_RUNTIME_LORA_UPDATING")
    lora_modules: tuple[LoraModule, ...] = option("lora",
        List(item=Parsed(parse_lora_module, write_lora_module, "name=path or a map of name and path", plain=True)), (),
        "Adapters that are there from the start.")

    language_model_only: bool = option("media", Flag(), False,
        "Refuse prompts with images, sounds and films, as a text model does.")
    mm_processor_cache_gb: float = option("media", Number(least=0), 4.0,
        "Cache of processed images, sounds and films, each of which takes 16 MiB; metrics tell what is found in it."
        " None if 0.", unit="GiB")
    omni: bool = option("media", Flag(), False,
        "Answer with an image too, when a request asks for it or by chance.")
    mm_encoder_only: bool = option("media", Flag(), False,
        "Be an encoder of media that generates nothing.")
    image_emission_rate: int = option("media", PERCENT, 0,
        "How many answers have an image unasked.", unit="%", live=True)
    time_to_generate_image: float = option("media", Duration(), 0.0,
        "Time that an image takes.", unit="ms", live=True)
    time_to_generate_image_std_dev: float = option("media", Duration(), 0.0,
        "Its standard deviation, at most 30 % of it.", unit="ms", live=True)
    # fmt: on
