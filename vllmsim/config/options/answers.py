# -*- test-case-name: tests.config.test_schema -*-
"""What answers say, and how text becomes tokens."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vllmsim.config.datasets import Dataset, parse_datasets, write_datasets
from vllmsim.config.kinds import PERCENT, Duration, Flag, Integer, Json, Number, Parsed, Text
from vllmsim.config.option import option
from vllmsim.config.pluginnames import MODES, PluginName


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class AnswerOptions:
    """What answers say, and how text becomes tokens. Durations are seconds."""

    # fmt: off
    mode: str = option("answers", PluginName(MODES), "random",
        "What answers say: sentences at random, the request's own last message, or what a plugin says.")
    dataset_path: str = option("answers", Text(), "",
        "SQLite file with answers; sentences are said while it is locked or cannot be read.")
    dataset_url: str = option("answers", Text(), "",
        "Where to download that file from, before the port opens, if it is not there.")
    dataset_sha256: str = option("answers", Text(), "",
        "SHA-256 that the download must have, in hexadecimal.")
    dataset_in_memory: bool = option("answers", Flag(), False,
        "Read the whole file into memory at the start, and look at it no more.")
    dataset_table_name: str = option("answers", Text(required=True), "llmd",
        "Table with the answers.")
    datasets: Mapping[str, Dataset] | None = option("answers",
        Parsed(parse_datasets, write_datasets, "a map of model names to paths, or to maps of path, url, sha256,"
               " in-memory and table-name"), None,
        "SQLite files with the answers of single models and adapters; the one above is for all others.")
    reasoning_parser: str = option("answers", Text(), "",
        "Parser that would tell reasoning from the answer; with one, chat answers begin with reasoning.")
    reasoning_share: int = option("answers", PERCENT, 50,
        "How much of an answer is reasoning, where there is any.", unit="%", live=True)

    tokenizer: str = option("tokenizer", Text(), "",
        "What cuts text into tokens: words, builtin, remote (the render service), a tokenizer.json or its folder, a"
        " model on the hub, which is downloaded once, or plugin:NAME; if empty, the model's where that is a folder, or"
        " words.")
    tokenizer_revision: str | None = option("tokenizer", Text(), None,
        "Branch, tag or commit of the tokenizer on the hub; main if not given.")
    revision: str | None = option("tokenizer", Text(), None,
        "Branch, tag or commit of the model on the hub, and of its tokenizer.")
    force_dummy_tokenizer: bool = option("tokenizer", Flag(), False,
        "Use the word tokenizer, whatever else is said.")
    chat_template: str | None = option("tokenizer", Text(), None,
        "Chat template in Jinja's language that takes the place of the model's own: a file, or the template itself.")
    chat_template_content_format: str = option("tokenizer", Text(choices=("auto", "string", "openai")), "auto",
        "How chat templates take what messages say: as one text, as OpenAI's parts, or (auto) as the template looks.")
    trust_request_chat_template: bool = option("tokenizer", Flag(), False,
        "Let requests bring chat templates.")
    default_chat_template_kwargs: Mapping[str, Any] | None = option("tokenizer", Json(), None,
        "What chat templates are told by name unless a request says otherwise.")
    tokenizers_cache_dir: str = option("tokenizer", Text(), "",
        "Directory of downloaded tokenizers, in the hub's layout; if empty, the one that other programs use.")
    hf_token: str | None = option("tokenizer", Text(), None,
        "Token for the model hub, and for datasets that are there.", environment="HF_TOKEN", secret=True)
    render_url: str = option("tokenizer", Text(), "http://localhost:8082",
        "Address of a vLLM render service, which tokenizes with tokenizer remote.")
    render_timeout: float = option("tokenizer", Duration(positive=True), 30.0,
        "How long the render service may take.", unit="ms")
    mm_render_timeout: float = option("tokenizer", Duration(positive=True), 60.0,
        "How long it may take for prompts with media.", unit="ms")

    max_tool_call_integer_param: int = option("tools", Integer(), 100,
        "Largest integer argument.", live=True)
    min_tool_call_integer_param: int = option("tools", Integer(), 0,
        "Smallest integer argument.", live=True)
    max_tool_call_number_param: float = option("tools", Number(), 100.0,
        "Largest number argument.", live=True)
    min_tool_call_number_param: float = option("tools", Number(), 0.0,
        "Smallest number argument.", live=True)
    max_tool_call_array_param_length: int = option("tools", Integer(least=0), 5,
        "Longest array argument.", live=True)
    min_tool_call_array_param_length: int = option("tools", Integer(least=0), 1,
        "Shortest array argument.", live=True)
    tool_call_not_required_param_probability: int = option("tools", PERCENT, 50,
        "How often an argument that is not required is given.", unit="%", live=True)
    object_tool_call_not_required_field_probability: int = option("tools", PERCENT, 50,
        "How often an object's field that is not required is given.", unit="%", live=True)
    tool_call_extra_call_probability: int = option("tools", PERCENT, 45,
        "How often one more tool is called.", unit="%", live=True)
    enable_auto_tool_choice: bool = option("tools", Flag(), True,
        "Let the model decide to call tools; vLLM's own default is off.", live=True)
    tool_call_parser: str = option("tools", Text(), "hermes",
        "Parser that would find calls in the model's text; without one no tool can be called, as in vLLM by default.")
    skip_tool_validation: bool = option("tools", Flag(), False,
        "Accept tool definitions without checking them.", live=True)
    # fmt: on
