# -*- test-case-name: tests.scripts.calibrate.test_options -*-
"""The words of the command line, and what they ask for."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from vllmsim.calibration.measured import Run
from vllmsim.config.arguments import scan
from vllmsim.config.loading import ConfigurationError, Loaded, load
from vllmsim.scripts import borrowing

ENGINE: Final = (
    "max-model-len",
    "max-num-seqs",
    "max-num-batched-tokens",
    "max-num-scheduled-tokens",
    "long-prefill-token-threshold",
    "enable-chunked-prefill",
    "scheduler-reserve-full-isl",
    "watermark",
    "block-size",
    "num-gpu-blocks-override",
    "kv-cache-size",
)
"""Options of the daemon that say what an engine does in a step."""
_BLOCKS: Final = frozenset({"num-gpu-blocks-override", "kv-cache-size"})
_USUAL_SEQUENCES: Final = 256
"""How many vLLM runs at the same time, where nobody says and the GPU is not large."""

_DESCRIPTION: Final = """\
Find out how long the steps of an engine take, from reports of benchmarks of a real server.

A REPORT is what vllm bench serve writes with --save-result --save-detailed, guidellm's benchmarks.json, aiperf's
profile_export.jsonl, or the folder of one of the two. Several are taken together, and should be: a server that was
measured with 1, 8 and 64 requests at a time tells what a sequence more costs.

Every run is played again with the scheduler of scheduling-model step and a linear step time, in no time, until the
coefficients are found with which its requests wait as long as they were seen to. Printed are the coefficients, and
how far the times of requests are off: to the first token (TTFT), between tokens on average (ITL), and to the last one
(E2E), each as the mean absolute percentage error (MAPE).
"""
_EPILOG: Final = """\
examples:

  vllmsim calibrate results/*.json --max-num-batched-tokens 8192 --max-num-seqs 1024 --write sim.yaml
  vllmsim --config sim.yaml
      serves with the times of the server that was measured
  vllmsim calibrate low.json high.json --check between.json
      also tells how far a run is off that nothing was learned from

Say what the measured server was told, or it is taken to have max-num-seqs 256, and room for every request that was
measured. Nothing is known of prompts but their lengths: measure with random ones, so that no prefix is cached.

The exit status is 0; 1 if a report cannot be used or the file not be written; 2 for words that make no sense; 130 after
an interrupt.
"""


class UsageError(Exception):
    """The words cannot be followed."""


@frozen
class Plan:
    """What to do.

    :param reports: paths of those that are learned from.
    :param checks: of those that are only compared.
    :param target: the file to write, if any.
    :param words: for the daemon: what the engine is told.
    """

    reports: tuple[str, ...]
    checks: tuple[str, ...]
    target: Path | None
    json: bool
    words: tuple[str, ...]
    environ: Mapping[str, str]

    def engine(self, runs: Sequence[Run]) -> Loaded:
        """Settle what the engine is told, so that there is room for the requests of runs.

        :raises UsageError: when the words leave no room for one of them, or make no sense.
        """
        longest = max(each.prompt_tokens + each.output_tokens for run in runs for each in run.requests)
        words = [*self.words, "--scheduling-model=step", "--step-time=linear"]
        given = _load(words, self.environ).values
        if "max-num-seqs" not in given:
            words.append(f"--max-num-seqs={_USUAL_SEQUENCES}")
        if "max-model-len" not in given:
            words.append(f"--max-model-len={longest}")
        loaded = _load(words, self.environ)
        if not _BLOCKS & {*given}:
            most = max(min(run.concurrency, loaded.configuration.max_num_seqs) for run in runs)
            # What a sequence has may begin in one block and end in the next.
            blocks = most * (-(-longest // loaded.configuration.block_size) + 1) + 1
            loaded = _load([*words, f"--num-gpu-blocks-override={blocks}"], self.environ)
        room = loaded.configuration.max_model_len
        if room < longest:
            raise UsageError(
                f"a request has {longest} tokens, and there is room for {room}: see max-model-len and"
                " num-gpu-blocks-override"
            )
        return loaded


def parser() -> ArgumentParser:
    """Describe the command's options."""
    result = ArgumentParser(
        "vllmsim calibrate",
        usage="vllmsim calibrate REPORT... [--check REPORT] [--write FILE] [OPTION...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("reports", nargs="+", metavar="REPORT", help="a file that a benchmark has written")
    result.add_argument(
        "--check", action="append", default=[], metavar="REPORT", help="one that is compared, and not learned from"
    )
    result.add_argument("--write", metavar="FILE", help="write a configuration for vllmsim --config")
    result.add_argument("--force", action="store_true", help="replace that file if it is there")
    result.add_argument("--json", action="store_true", help="print JSON, with times in seconds")
    group = result.add_argument_group(
        "engine", "options of the daemon, as the measured server had them; environment variables count too"
    )
    borrowing.describe(group, ENGINE)
    return result


def plan(words: Sequence[str], environ: Mapping[str, str]) -> Plan:
    """Settle what is to be done.

    :param words: everything behind ``vllmsim calibrate``.
    :raises UsageError: when they do not go together.
    :raises SystemExit: when they ask for help, or argparse knows what is wrong.
    """
    own: Any = parser().parse_intermixed_args(words)
    target = Path(own.write) if own.write else None
    if target is not None and target.exists() and not own.force:
        raise UsageError(f"{target} is there already; --force replaces it")
    return Plan(
        reports=tuple(own.reports),
        checks=tuple(own.check),
        target=target,
        json=own.json,
        words=tuple(borrowing.words_of(own, ENGINE)),
        environ=environ,
    )


def _load(words: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    try:
        return load(scan(words), environ)
    except ConfigurationError as error:
        raise UsageError("; ".join(map(str, error.problems))) from None
