# -*- test-case-name: tests.scripts.manual.test_completion -*-
"""What bash and zsh offer behind the names of the commands: options, words that an option may be, and files.

Both files are tables with a few lines of shell around them. Options of vLLM's that mean nothing here are offered when
nothing of ours begins with what is typed.
"""

import re
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from vllmsim.config.kinds import Flag, Kind, List
from vllmsim.config.names import all_options
from vllmsim.config.option import Option
from vllmsim.config.pluginnames import PluginName
from vllmsim.scripts.calibrate import options as calibrate
from vllmsim.scripts.clock import command as clock
from vllmsim.scripts.dataset import options as dataset_options

_VLLM: Final = "vllm"
_FILE: Final = re.compile(
    r"(^|-)(path|file|log|certfile|keyfile|ca-certs|scenario|uds|input|chat-template)$|^(config|check|write)$"
)
"""Names of options whose values are files, or may be."""
_FOLDER: Final = re.compile(r"(^|-)(dir|output-path|local-path|media-path)$")
_EITHER: Final = frozenset({"model", "tokenizer", "dataset-path"})


@frozen
class Offer:
    """What may be typed for an option.

    :param flags: its spellings, with their dashes.
    :param opposite: those that say no.
    :param takes: ``none``, ``words``, ``files``, ``folders``, or ``text``, for which there is nothing to offer.
    :param words: those that it may be, if they are few.
    :param help: one sentence.
    :param ours: whether it means something here.
    """

    flags: tuple[str, ...]
    opposite: tuple[str, ...] = ()
    takes: str = "text"
    words: tuple[str, ...] = ()
    help: str = ""
    ours: bool = True


def _takes(name: str, words: tuple[str, ...]) -> str:
    if words:
        return "words"
    if _FOLDER.search(name):
        return "folders"
    return "files" if name in _EITHER or _FILE.search(name) else "text"


def _words(kind: Kind) -> tuple[str, ...]:
    if isinstance(kind, List):
        return _words(kind.item)
    words = kind.ours if isinstance(kind, PluginName) else getattr(kind, "choices", ())
    return tuple(str(word) for word in words if word != "")


def _offer(option: Option) -> Offer:
    flags, ours = (f"--{option.name}", *option.aliases), option.group != _VLLM
    if isinstance(option.kind, Flag):
        return Offer(flags, (f"--no-{option.name}",), "none", (), option.help, ours)
    words = _words(option.kind)
    return Offer(flags, (), _takes(option.name, words), words, option.help, ours)


def daemon_offers() -> tuple[Offer, ...]:
    """List what ``vllmsim`` takes."""
    own = (
        Offer(("--config",), takes="files", help="Read options from a YAML file."),
        Offer(("--print-config",), takes="none", help="Show what is in effect and where it comes from."),
        Offer(("--check-config",), takes="none", help="Say what is wrong with the options."),
        Offer(("--help", "-h"), takes="none", help="Show all options."),
        Offer(("--help-plugins",), takes="none", help="Show what can be chosen by name."),
        Offer(("--version",), takes="none", help="Show the version."),
    )
    return (*own, *map(_offer, all_options()))


def parsed_offers(parser: ArgumentParser) -> Iterator[Offer]:
    """List what a parser of Python's takes."""
    for action in parser._actions:  # noqa: SLF001 - there is no other way to ask
        if not action.option_strings:
            continue
        long = [flag for flag in action.option_strings if flag.startswith("--")]
        opposite = tuple(flag for flag in long if flag.startswith("--no-"))
        flags = tuple(flag for flag in action.option_strings if flag not in opposite)
        words = tuple(map(str, action.choices or ()))
        takes = "none" if action.nargs == 0 else _takes(long[0].removeprefix("--"), words)
        yield Offer(flags, opposite, takes, words, (action.help or "").replace("%%", "%"))


def bash() -> str:
    """Write the file for bash, which bash-completion loads when a command is completed for the first time."""
    dataset, bench = parsed_offers(dataset_options.parser()), parsed_offers(clock.parser())
    calibration = parsed_offers(calibrate.parser())
    return _BASH.format(
        daemon=_bash_table("_vllmsim", daemon_offers()),
        bench=_bash_table("_vllmsim_bench", bench),
        calibrate=_bash_table("_vllmsim_calibrate", calibration),
        dataset=_bash_table("_vllmsim_dataset", dataset),
    )


def _bash_table(name: str, offers: Iterable[Offer]) -> str:
    """Write a function that completes the words of one command."""
    everything = list(offers)
    cases = [
        f"        {'|'.join(each.flags)}) {_BASH_ACTIONS[each.takes].format(words=' '.join(each.words))}; return ;;"
        for each in everything
        if each.takes != "none"
    ]
    return _BASH_FUNCTION.format(
        name=name,
        cases="\n".join(cases),
        ours=" ".join(each.flags[0] for each in everything if each.ours),
        opposite=" ".join(flag for each in everything for flag in each.opposite),
        others=" ".join(flag for each in everything for flag in (each.flags if not each.ours else each.flags[1:])),
    )


_BASH_ACTIONS: Final = {
    "words": 'COMPREPLY=($(compgen -W "{words}" -- "$cur"))',
    "files": "_filedir",
    "folders": "_filedir -d",
    "text": ":",
}
_BASH_FUNCTION: Final = """\
{name}_words() {{
    case $prev in
{cases}
    esac
    if [[ $cur == --no-* ]]; then
        COMPREPLY=($(compgen -W "{opposite}" -- "$cur"))
    elif [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "{ours}" -- "$cur"))
        [[ ${{#COMPREPLY[@]}} -gt 0 ]] || COMPREPLY=($(compgen -W "{others}" -- "$cur"))
    else
        _filedir
    fi
}}
"""
_BASH: Final = """\
# bash completion for vllmsim and vllmsim-dataset, written by vllmsim.scripts.manual

{daemon}
{bench}
{calibrate}
{dataset}
_vllmsim() {{
    local cur prev words cword split
    _init_completion -s || return
    if [[ ${{words[1]}} == bench ]]; then
        if [[ $cword -eq 2 ]]; then
            COMPREPLY=($(compgen -W "clock" -- "$cur"))
            return
        fi
        _vllmsim_bench_words
        [[ ${{#COMPREPLY[@]}} -gt 0 ]] || _vllmsim_words
    elif [[ ${{words[1]}} == calibrate && $cword -gt 1 ]]; then
        _vllmsim_calibrate_words
    elif [[ $cword -eq 1 && ${{words[1]}} != -* ]]; then
        _filedir
        COMPREPLY+=($(compgen -W "serve bench calibrate" -- "$cur"))
    else
        _vllmsim_words
    fi
}} && complete -F _vllmsim vllmsim

_vllmsim_dataset() {{
    local cur prev words cword split
    _init_completion -s || return
    _vllmsim_dataset_words
}} && complete -F _vllmsim_dataset vllmsim-dataset
"""


def zsh() -> str:
    """Write the file for zsh, which its completion loads as a function. Flags that mean nothing here are left out."""
    daemon = [each for each in daemon_offers() if each.ours]
    return _ZSH.format(
        daemon=_zsh_table(daemon),
        bench=_zsh_table(parsed_offers(clock.parser())),
        calibrate=_zsh_table(parsed_offers(calibrate.parser())),
        dataset=_zsh_table(parsed_offers(dataset_options.parser())),
    )


def _zsh_table(offers: Iterable[Offer]) -> str:
    return "\n".join(f"    {_zsh_quoted(spec)}" for each in offers for spec in _zsh_specs(each))


def _zsh_specs(offer: Offer) -> Iterator[str]:
    """Write an option as ``_arguments`` takes it."""
    about = "[" + re.sub(r"([\[\]\\])", r"\\\1", offer.help) + "]"
    value = "" if offer.takes == "none" else f":value:{_ZSH_ACTIONS[offer.takes].format(words=' '.join(offer.words))}"
    for flag in offer.flags[:1] + offer.opposite:
        yield f"{flag}{'=' if value else ''}{about}{value}"


def _zsh_quoted(word: str) -> str:
    return "'" + word.replace("'", r"'\''") + "'"


_ZSH_ACTIONS: Final = {"words": "({words})", "files": "_files", "folders": "_files -/", "text": " "}
_ZSH: Final = """\
#compdef vllmsim vllmsim-dataset
# zsh completion for vllmsim and vllmsim-dataset, written by vllmsim.scripts.manual

local -a daemon bench calibrate dataset
daemon=(
{daemon}
)
bench=(
{bench}
)
calibrate=(
{calibrate}
)
dataset=(
{dataset}
)

if [[ $service == vllmsim-dataset ]]; then
    _arguments $dataset '::input:_files'
elif [[ $words[2] == bench ]]; then
    _arguments '1:command:(bench)' '2:benchmark:(clock)' $bench $daemon
elif [[ $words[2] == calibrate ]]; then
    _arguments '1:command:(calibrate)' '*:report:_files' $calibrate
else
    _arguments '1::command or model:{{_alternative "command\\:command\\:(serve bench calibrate)" \\
        "model\\:model\\:_files"}}' \\
        '2::model:_files' $daemon
fi
"""
