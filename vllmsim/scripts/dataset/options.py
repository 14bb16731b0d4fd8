# -*- test-case-name: tests.scripts.dataset.test_options -*-
"""The words of the command line, and what they ask for.

The names are those of llm-d-inference-sim's tool where it has them. The tokenizer is chosen by options of the daemon,
with the same names and meanings, so that a database fits the server that has the same.
"""

import re
from argparse import ArgumentParser, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from attrs import evolve, frozen

from vllmsim.config.arguments import scan
from vllmsim.config.loading import ConfigurationError, load
from vllmsim.config.schema import Configuration
from vllmsim.dataset.records import TABLE
from vllmsim.scripts import borrowing
from vllmsim.scripts.dataset.building import Wishes
from vllmsim.scripts.dataset.dialogues import FORMS, RECORDS
from vllmsim.scripts.dataset.faults import UsageError

_REPOSITORY: Final = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
_NAME: Final = "inference-sim-dataset"
_MOST_RECORDS: Final = 10_000
_MOST_AT_A_TIME: Final = 1000
_DAEMONS: Final = (
    "model",
    "tokenizer",
    "revision",
    "tokenizer-revision",
    "chat-template",
    "chat-template-content-format",
    "default-chat-template-kwargs",
    "tokenizers-cache-dir",
    "hf-token",
    "force-dummy-tokenizer",
    "render-url",
    "render-timeout",
    "mm-render-timeout",
)
"""Options of the daemon that choose the tokenizer."""

_DESCRIPTION: Final = """\
Make a database of answers for vllmsim (--dataset-path), its listing in JSON, and a page that describes it.

INPUT is a file with conversations: ShareGPT's JSON, or one JSON object on each line with "messages" as OpenAI writes
them, or with a "prompt" and its "completion". Every answer in it makes two records, one for the conversation so far
and one for the question alone as the prompt of a completion.
"""
_EPILOG: Final = """\
examples:

  vllmsim-dataset conversations.json
      makes inference-sim-dataset.sqlite3, .json and .md here
  vllmsim-dataset chats.jsonl --tokenizer ./Qwen3-0.6B --output-file chats --max-records 0
      with the tokenizer and the chat template of a model's folder, of the whole file
  vllmsim-dataset prompts.jsonl --record http://gpu-node:8000 --max-tokens 256
      asks a running server, and keeps its answers with the token ids that it tells
  vllmsim-dataset --hf-repo OWNER/NAME --input-file conversations.json
      downloads the input from a hub (HF_ENDPOINT, HF_TOKEN)
  vllmsim --dataset-path inference-sim-dataset.sqlite3
      serves what was made

Nothing is replaced without --force, and nothing is left behind when the work fails or is interrupted. Equal inputs
and options make equal files, to the byte. The exit status is 0; 1 if there is no database; 2 for words that make no
sense; 130 after an interrupt.
"""


@frozen
class HubFile:
    """A file of a dataset on a hub.

    :param repository: the dataset, as ``owner/name``.
    :param name: the file, perhaps in folders of it.
    """

    repository: str
    name: str


@frozen
class Recorded:
    """Which server is asked, and how.

    :param address: where its paths begin, without the ``/v1``.
    :param concurrency: how many requests there are at the same time.
    :param max_tokens: the most tokens of an answer.
    :param timeout: seconds that an answer may take.
    :param retries: how often a request is made again.
    """

    address: str
    api_key: str
    concurrency: int
    max_tokens: int
    timeout: float
    retries: int

    @property
    def shown(self) -> str:
        """The address without what is secret in it."""
        parts = urlsplit(self.address)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@frozen
class Plan:
    """What to do.

    :param source: where the input is.
    :param model: the model whose answers are recorded; empty for the server's first.
    :param configuration: chooses the tokenizer.
    """

    source: Path | HubFile
    folder: Path
    name: str
    force: bool
    table: str
    index: bool
    wishes: Wishes
    recorded: Recorded | None
    model: str
    configuration: Configuration


def parser() -> ArgumentParser:
    """Describe the command's options."""
    result = ArgumentParser(
        "vllmsim-dataset",
        usage="vllmsim-dataset [OPTION...] [INPUT]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("input", nargs="?", metavar="INPUT", help="the file with conversations")
    _describe_input(result)
    _describe_output(result)
    _describe_recording(result)
    group = result.add_argument_group(
        "tokenizer", "options of the daemon; its configuration file and environment variables count too"
    )
    borrowing.describe(group, _DAEMONS)
    return result


def _describe_input(result: ArgumentParser) -> None:
    group = result.add_argument_group("input")
    group.add_argument("--local-path", metavar="DIR", help="the folder of --input-file")
    group.add_argument("--hf-repo", metavar="NAME", help="the dataset on a hub that has --input-file")
    group.add_argument("--input-file", metavar="FILE", help="the file, in that folder or dataset if one is given")
    group.add_argument("--format", choices=("auto", *FORMS), default="auto", help="what it has (default: auto)")
    group.add_argument(
        "--records", choices=RECORDS, default="both", help="which requests find an answer (default: both)"
    )
    group.add_argument(
        "--max-records",
        type=int,
        default=_MOST_RECORDS,
        metavar="N",
        help=f"stop after so many records (default: {_MOST_RECORDS}; 0 for all)",
    )
    group.add_argument("--skip-bad", action="store_true", help="go on without records that cannot be used")


def _describe_output(result: ArgumentParser) -> None:
    group = result.add_argument_group("output")
    group.add_argument("--output-path", default=".", metavar="DIR", help="its folder (default: this one)")
    group.add_argument(
        "--output-file", default=_NAME, metavar="NAME", help=f"its name, without an ending (default: {_NAME})"
    )
    group.add_argument("--table-name", default=TABLE, metavar="NAME", help=f"the table's name (default: {TABLE})")
    group.add_argument(
        "--index",
        action=BooleanOptionalAction,
        default=True,
        help="make an index, which vllmsim looks answers up with (default: yes)",
    )
    group.add_argument("--force", action="store_true", help="replace files that are there")


def _describe_recording(result: ArgumentParser) -> None:
    group = result.add_argument_group("recording", "the answers of a running server in the place of the input's")
    group.add_argument("--record", metavar="URL", help="the server, such as http://localhost:8000")
    group.add_argument("--api-key", metavar="KEY", help="what it wants as a bearer token (default: OPENAI_API_KEY)")
    group.add_argument("--concurrency", type=int, default=8, metavar="N", help="requests at the same time (default: 8)")
    group.add_argument(
        "--max-tokens", type=int, default=1024, metavar="N", help="the most tokens of an answer (default: 1024)"
    )
    group.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds for one answer (default: 600)"
    )
    group.add_argument("--retries", type=int, default=3, metavar="N", help="further attempts at one (default: 3)")


def plan(words: Sequence[str], environ: Mapping[str, str]) -> Plan:
    """Settle what is to be done.

    :param words: everything behind the command's name.
    :raises UsageError: when they do not go together.
    :raises SystemExit: when they ask for help, or argparse knows what is wrong.
    """
    own = parser().parse_args(words)
    if own.max_records < 0:
        raise UsageError(f"--max-records must be at least 0, not {own.max_records}")
    if not own.table_name:
        raise UsageError("--table-name must not be empty")
    return Plan(
        source=_source(own),
        folder=Path(own.output_path or "."),
        name=own.output_file,
        force=own.force,
        table=own.table_name,
        index=own.index,
        wishes=Wishes(
            form=None if own.format == "auto" else own.format,
            records=own.records,
            most=own.max_records or None,
            skip_bad=own.skip_bad,
        ),
        recorded=_recorded(own, environ),
        model=own.model or "",
        configuration=_configuration(own, environ),
    )


def _source(own: Namespace) -> Path | HubFile:
    if own.local_path and own.hf_repo:
        raise UsageError("specify only one of --hf-repo or --local-path")
    if own.input and (own.input_file or own.local_path or own.hf_repo):
        raise UsageError("specify either INPUT or --input-file with --hf-repo or --local-path")
    for name, value in (("--hf-repo", own.hf_repo), ("--local-path", own.local_path)):
        if value and not own.input_file:
            raise UsageError(f"{name} defined but --input-file is empty")
    if own.hf_repo:
        for name, value, known in (
            ("--hf-repo", own.hf_repo, _REPOSITORY.fullmatch(own.hf_repo)),
            ("--input-file", own.input_file, not {"", ".", ".."} & {*own.input_file.split("/")}),
        ):
            if not known or "\0" in value:
                raise UsageError(f"{name} of a hub cannot be {value!r}")
        return HubFile(own.hf_repo, own.input_file)
    name = own.input or own.input_file
    if not name:
        raise UsageError("INPUT is missing: name a file, or --input-file with --hf-repo or --local-path")
    return Path(own.local_path or "", name)


def _recorded(own: Namespace, environ: Mapping[str, str]) -> Recorded | None:
    for name, value, least, most in (
        ("--concurrency", own.concurrency, 1, _MOST_AT_A_TIME),
        ("--max-tokens", own.max_tokens, 1, 2**31),
        ("--retries", own.retries, 0, 100),
    ):
        if not least <= value <= most:
            raise UsageError(f"{name} must be from {least} to {most}, not {value}")
    if not 0 < own.timeout <= 10**6:
        raise UsageError(f"--timeout must be more than 0 and at most 1000000 seconds, not {own.timeout:g}")
    if not own.record:
        return None
    try:
        parts = urlsplit(own.record)
        known = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port)
        known = known and not (parts.query or parts.fragment)
    except ValueError:
        known = False
    if not known or not own.record.isascii():
        raise UsageError(f"--record must be the address of a server such as http://localhost:8000, not {own.record!r}")
    key = own.api_key or environ.get("OPENAI_API_KEY", "")
    if not key.isprintable() or not key.isascii():
        raise UsageError("--api-key has characters that no header can have")
    address = own.record.rstrip("/").removesuffix("/v1").rstrip("/")
    return Recorded(address, key, own.concurrency, own.max_tokens, own.timeout, own.retries)


def _configuration(own: Namespace, environ: Mapping[str, str]) -> Configuration:
    """Read the daemon's options, without what a tokenizer has nothing to do with."""
    words = borrowing.words_of(own, _DAEMONS)
    if own.render_url is not None and own.tokenizer is None:
        # Who names a render service means it.
        words.append("--tokenizer=remote")
    try:
        configuration = load(scan(words), environ).configuration
    except ConfigurationError as error:
        raise UsageError("; ".join(map(str, error.problems))) from None
    return evolve(configuration, mode="random", dataset_path="", dataset_url="", datasets=None, mm_encoder_only=False)
