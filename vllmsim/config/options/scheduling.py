# -*- test-case-name: tests.config.test_schema -*-
"""Which sequence runs, how long everything takes, and what fails on purpose."""

from typing import Any

from attrs import frozen

from vllmsim.config.failurerule import FAILURE_TYPES, FailureRule, write_failure_rules
from vllmsim.config.failurerules import parse_failure_rules
from vllmsim.config.kinds import PERCENT, Duration, Flag, Integer, List, Number, Parsed, Text
from vllmsim.config.option import option
from vllmsim.config.pluginnames import CALCULATORS, PluginName


def _latency(help: str, **facts: Any) -> Any:  # noqa: A002
    """Declare a duration that can change live and is zero unless set."""
    return option("latency", Duration(), 0.0, help, unit="ms", live=True, **facts)


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class SchedulingOptions:
    """Which sequence runs, how long everything takes, and what fails on purpose. Durations are seconds."""

    # fmt: off
    max_num_seqs: int = option("scheduling", Integer(least=1, most=65536), 5,
        "Most sequences that run at the same time.", live=True)
    scheduling_policy: str = option("scheduling", Text(choices=("fcfs", "priority")), "fcfs",
        "Which of those that wait is next: the first that came, or the one with the lowest priority.")
    max_waiting_queue_length: int = option("scheduling", Integer(least=0), 1000,
        "Most sequences that wait for a slot; a request beyond it is answered 429.", live=True)
    max_num_queued_reqs: int | None = option("scheduling", Integer(least=1, automatic=("none",)), None,
        "Most sequences that wait or run; a request beyond it is answered 503.", live=True)
    max_num_queued_tokens: int | None = option("scheduling", Integer(least=1, automatic=("none",)), None,
        "Prompt tokens of sequences before their first token; a request that comes on so many is answered 503.",
        unit="tokens", live=True)

    time_to_first_token: float = _latency("Time from the start of a sequence to its first token.")
    time_to_first_token_std_dev: float = _latency("Its standard deviation, at most 30 % of it.")
    inter_token_latency: float = _latency("Time between two tokens.")
    inter_token_latency_std_dev: float = _latency("Its standard deviation, at most 30 % of it.")
    prefill_overhead: float = _latency("Constant part of the prefill, where it is counted per token.")
    prefill_time_per_token: float = _latency("Prefill time of each prompt token that is not cached.")
    prefill_time_std_dev: float = _latency("Standard deviation of the prefill counted per token.")
    kv_cache_transfer_latency: float = _latency(
        "Time to first token of a sequence whose prefill ran on another server.")
    kv_cache_transfer_latency_std_dev: float = _latency("Its standard deviation, at most 30 % of it.")
    kv_cache_transfer_time_per_token: float = _latency("The same, for each prompt token.")
    kv_cache_transfer_time_std_dev: float = _latency("Standard deviation of the transfer counted per token.")
    time_factor_under_load: float = option("latency", Number(least=1.0), 1.0,
        "How many times longer everything takes when all slots are busy; in between it grows evenly.", live=True)
    latency_calculator: str = option("latency", PluginName(CALCULATORS), "",
        "How the time to first token is found: constant, per-token, or (empty) whichever of them is set; or a plugin,"
        " which finds all times.", live=True)

    clock: str = option("latency", Text(choices=("real", "virtual")), "real",
        "Whether simulated time goes on by itself, or is moved by POST /admin/clock/advance and"
        " /admin/clock/run-until-idle.")
    time_scale: float = option("latency", Number(least=0.001, most=1000.0), 1.0,
        "How many simulated seconds pass in a real one; connections, threads and neighbours have real time.")

    failure_injection_rate: int = option("failures", PERCENT, 0,
        "How many requests fail on purpose, by chance.", unit="%", live=True)
    failure_types: tuple[str, ...] = option("failures", List(item=Text(choices=FAILURE_TYPES)), (),
        "How they fail; in any way if none is named.", live=True)
    failure_rules: tuple[FailureRule, ...] = option("failures",
        Parsed(parse_failure_rules, write_failure_rules, "a list of maps, each a rule"), (),
        "Which requests fail, when, and how; the first rule that hits a request decides.", live=True)
    return_error_header: bool = option("failures", Flag(), True,
        "Let requests ask for an error with the header X-Return-Error, which has its status.", live=True)
    # fmt: on
