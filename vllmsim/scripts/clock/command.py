# -*- test-case-name: tests.scripts.clock.test_command -*-
"""The command: words in, a report out.

Everything that is none of its own options goes to the daemon, with a few of ours behind it: where it listens, and as
many slots as there are streams.
"""

import json
import os
import platform
import random
import signal
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import mean
from types import FrameType
from typing import Any, Final, NoReturn

from attrs import evolve, frozen

from vllmsim.config.arguments import scan
from vllmsim.config.loading import ConfigurationError, gather, load
from vllmsim.config.schema import Configuration
from vllmsim.latency import LatencyModel
from vllmsim.printing import print_out
from vllmsim.scripts.clock.client import Client, NoFiles, Stream, allow_connections
from vllmsim.scripts.clock.daemon import Daemon, NotStarted, free_port
from vllmsim.scripts.clock.lateness import Asked, Run, Spread, compare
from vllmsim.scripts.clock.report import Reading, Report
from vllmsim.scripts.progressline import ProgressLine

_STREAMS: Final = 100
_MOST_STREAMS: Final = 20_000
_MOST_TOKENS: Final = 2_000_000
_PER_START: Final = 0.002
"""Seconds between the starts of two streams, on average: requests take more of a processor than tokens do."""
_WARM_STREAMS, _WARM_TOKENS = 8, 3
_PATIENCE: Final = 10.0
_NANOSECONDS: Final = 1e-9
_PROMPT: Final = "How late is it?"

_DESCRIPTION: Final = """\
Tell how well this machine keeps the time that it is asked to keep.

Starts the daemon in a process of its own, on a free port of the loopback address, streams completions from it, and
compares when each token came with when it was due.
"""
_EPILOG: Final = """\
Every option of the daemon can be given too, on the command line, in a file named with --config, or in the environment:

  vllmsim bench clock --streams 500 --inter-token-latency 50ms
  vllmsim bench clock --config sim.yaml --json

Without them the time to first token is 200 ms and the inter-token latency 20 ms, and max-num-seqs is the number of
streams. Where to listen, TLS, ranks and the start-up's duration are the command's own affair.

Streams begin at random times, over one gap or 2 ms for each, so that their tokens are due at different times. A token
is due at its request's time, plus the time to first token, plus a gap for each token before it; it is behind its
deadline by what it comes later, the work on the request included. With standard deviations or a time factor under load
no client can know deadlines, and only means are compared. Times are those at which the kernel received tokens.

The exit status is 0, 1 if tokens were lost or the daemon did not start, and 2 for words that make no sense.
"""


class UsageError(Exception):
    """The words cannot be followed."""


@frozen
class Plan:
    """What to do.

    :param words: the daemon's command line.
    :param port: where it will listen.
    :param configuration: what it will make of its words.
    """

    words: tuple[str, ...]
    port: int
    configuration: Configuration
    streams: int
    tokens: int


def parser() -> ArgumentParser:
    """Describe the command's own options."""
    result = ArgumentParser(
        "vllmsim bench clock",
        usage="vllmsim bench clock [--streams N] [--tokens N] [--json] [OPTION OF THE DAEMON...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument(
        "--streams",
        type=int,
        metavar="N",
        help=f"how many streams run at the same time (default: {_STREAMS}, or max-num-seqs if that is given and less)",
    )
    result.add_argument("--tokens", type=int, default=100, metavar="N", help="tokens of each (default: 100)")
    result.add_argument("--json", action="store_true", help="print JSON, with times in milliseconds")
    return result


def plan(own: Namespace, words: Sequence[str], environ: Mapping[str, str], port: int) -> Plan:
    """Settle what the daemon is told.

    :param own: the command's own options.
    :param words: the other words.
    :raises UsageError: when they do not go together.
    :raises ConfigurationError: when the daemon would not take its words.
    """
    arguments = scan(words)
    if arguments.requests:
        raise UsageError(f"--{min(arguments.requests)} goes with the daemon alone: vllmsim --{min(arguments.requests)}")
    values, _ = gather(arguments, environ)
    given = {name: value for name, (value, _) in values.items() if value is not None}
    streams, tokens = _sizes(own, given)
    words = [*words, *_latencies(given), *_room(given, streams, tokens), *_place(port)]
    return Plan(tuple(words), port, load(scan(words), environ).configuration, streams, tokens)


def _sizes(own: Namespace, given: Mapping[str, Any]) -> tuple[int, int]:
    slots = given.get("max-num-seqs", _MOST_STREAMS)
    streams: int = min(_STREAMS, slots) if own.streams is None else own.streams
    tokens: int = own.tokens
    if not 1 <= streams <= _MOST_STREAMS:
        raise UsageError(f"--streams must be from 1 to {_MOST_STREAMS}, not {streams}")
    if tokens < 2:  # noqa: PLR2004 - one has no gap
        raise UsageError(f"--tokens must be at least 2, not {tokens}")
    if streams * tokens > _MOST_TOKENS:
        raise UsageError(f"{streams} streams of {tokens} tokens are more than {_MOST_TOKENS} tokens in all")
    if streams > slots:
        raise UsageError(f"{streams} streams cannot run at the same time with max-num-seqs {slots}")
    return streams, tokens


def _latencies(given: Mapping[str, Any]) -> list[str]:
    """Give the daemon a pace if it has none."""
    words: list[str] = []
    if not given.keys() & {"time-to-first-token", "prefill-overhead", "prefill-time-per-token"}:
        words += ["--time-to-first-token", "200ms"]
    if "inter-token-latency" not in given:
        words += ["--inter-token-latency", "20ms"]
    return words


def _room(given: Mapping[str, Any], streams: int, tokens: int) -> list[str]:
    words = [] if "max-num-seqs" in given else ["--max-num-seqs", str(streams)]
    longest = tokens + len(_PROMPT)
    if "max-model-len" not in given:
        words += ["--max-model-len", str(longest)]
    elif given["max-model-len"] < longest:
        raise UsageError(f"{tokens} tokens and a prompt need a max-model-len of {longest}")
    return words


def _place(port: int) -> list[str]:
    # All streams connect at once: the system must let as many wait as it can.
    return [
        "--listen", f"tcp:{port}:interface=127.0.0.1:backlog={_MOST_STREAMS}",
        "--host=", "--uds=", "--ssl-certfile=", "--ssl-keyfile=", "--no-self-signed-certs",
        "--data-parallel-size", "1", "--data-parallel-rank=-1", "--no-data-parallel-processes",
        "--runner", "generate", "--startup-duration", "0", "--timeout-keep-alive", "600s",
        "--clock", "real", "--time-scale", "1", "--scheduling-model", "per-request",
    ]  # fmt: skip


def varies(configuration: Configuration) -> str:
    """Say why latencies differ from token to token; nothing if they do not."""
    c = configuration
    if c.time_to_first_token_std_dev or c.inter_token_latency_std_dev or c.prefill_time_std_dev:
        return "latencies are drawn at random around their means"
    return "latencies depend on the load" if c.time_factor_under_load != 1 and c.max_num_seqs > 1 else ""


def asked_of(plan: Plan, prompt_tokens: int) -> Asked:
    """Find the mean latencies: streams begin one after the other, and then all of them run."""
    steady = evolve(
        plan.configuration, time_to_first_token_std_dev=0.0, inter_token_latency_std_dev=0.0, prefill_time_std_dev=0.0
    )
    model, unused = LatencyModel(steady), random.Random(0)  # noqa: S311 - without deviations nothing is drawn
    firsts = [model.time_to_first_token(prompt_tokens, 0, False, n + 1, unused) for n in range(plan.streams)]
    gap = model.inter_token_latency(plan.streams, unused)
    return Asked(plan.streams, plan.tokens, mean(firsts), gap, varies(plan.configuration))


def request_for(tokens: int) -> bytes:
    """Write the request of a stream of so many tokens."""
    body = json.dumps(
        {
            "prompt": _PROMPT,
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_interval": 1,
            "stream_options": {"include_usage": True},
        }
    )
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _measure(plan: Plan, tell: ProgressLine) -> Report:
    allow_connections(plan.streams)
    tell("starting the daemon")
    with Daemon(plan.words, plan.port):
        expected = asked_of(plan, len(_PROMPT))
        patience = _PATIENCE + 2 * max(expected.first, expected.gap)
        # What runs for the first time takes longer than it ever will again.
        tell("warming up")
        warm = [Stream(_WARM_TOKENS) for _ in range(min(_WARM_STREAMS, plan.streams))]
        Client(plan.port, request_for(_WARM_TOKENS), patience).run(warm, [0.0] * len(warm))
        asked = asked_of(plan, warm[0].prompt_tokens)
        streams = [Stream(plan.tokens) for _ in range(plan.streams)]
        over = max(asked.gap, plan.streams * _PER_START) if asked.gap else 0.0
        generator = random.Random(0)  # noqa: S311 - times, not secrets
        starts = sorted(generator.uniform(0, over) for _ in streams)
        total = plan.streams * plan.tokens
        client = Client(
            plan.port, request_for(plan.tokens), patience, lambda tokens: tell(f"{tokens} of {total} tokens")
        )
        client.run(streams, starts)
    tell("")
    runs = [Run(s.sent * _NANOSECONDS, array("d", (each * _NANOSECONDS for each in s.arrivals))) for s in streams]
    delay = Spread.of([each * _NANOSECONDS for each in client.delays]) if client.stamped else None
    reading = Reading(client.stamped, delay, sum(stream.together for stream in streams))
    faults = [stream.fault for stream in streams if stream.fault]
    return Report(_machine(), asked, over, compare(asked, runs), reading, faults)


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cores} core{'s' if cores > 1 else ''}, {platform.system()} {platform.machine()}, {python}"


@contextmanager
def _leaving() -> Iterator[None]:
    """Have signals end the program in order: the daemon first."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def run(words: Sequence[str]) -> int:
    """Follow the words of a command line.

    :param words: everything after ``vllmsim bench clock``.
    :return: the exit status.
    :raises SystemExit: when they ask for help, make no sense, or a signal comes.
    """
    own, others = parser().parse_known_args(words)
    tell = ProgressLine()
    try:
        with _leaving():
            report = _measure(plan(own, others, os.environ, free_port()), tell)
    except (UsageError, NoFiles) as error:
        return _complain(tell, error, 2)
    except ConfigurationError as error:
        return _complain(tell, error, 1)
    except NotStarted as error:
        return _complain(tell, f"the daemon did not start:\n{error}", 1)
    except OSError as error:
        return _complain(tell, f"the daemon cannot be reached: {error}", 1)
    unprinted = print_out(report.json() if own.json else report.text(), "vllmsim bench clock")
    return 1 if report.delivered.lost else unprinted


def _complain(tell: ProgressLine, problem: object, status: int) -> int:
    tell("")
    sys.stderr.write(f"vllmsim bench clock: {problem}\n")
    return status
