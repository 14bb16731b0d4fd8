# -*- test-case-name: tests.config.test_loading -*-
"""Puts the configuration together: defaults, then a YAML file, then the environment, then the command line.

Every source is read to its end and all problems are reported together.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from vllmsim.config.access import middleware_doubt
from vllmsim.config.arguments import Arguments
from vllmsim.config.blocks import settle, window_doubt
from vllmsim.config.events import event_doubt
from vllmsim.config.kinds import UNREADABLE
from vllmsim.config.memory import memory_doubt, room_for_blocks
from vllmsim.config.names import MOST_NAMED, all_options, find, suggest
from vllmsim.config.option import Option
from vllmsim.config.plain import PlainValues
from vllmsim.config.problems import Problem, problems_of
from vllmsim.config.rules import broken
from vllmsim.config.schema import Configuration, own_options
from vllmsim.config.steprules import speculation_doubt
from vllmsim.config.steptimes import step_time_doubt
from vllmsim.config.tls import tls_doubt
from vllmsim.errors import InvalidRequest

_MOST_BYTES: Final = 1 << 20
"""The longest configuration file, and the most characters that are in it when aliases are followed."""
_MOST_VALUES: Final = 100_000
"""The most values that are in it."""


class ConfigurationError(Exception):
    """The configuration cannot be used.

    :param problems: everything that is wrong with it, at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{count} in the configuration:", *(f"  {problem}" for problem in problems)]))
        self.problems = tuple(problems)


@frozen
class Loaded:
    """A configuration and where it comes from.

    :param configuration: the effective values.
    :param values: by option name, every value that some source gave, and that source.
    """

    configuration: Configuration
    values: Mapping[str, tuple[Any, str]] = field(factory=dict, repr=False)

    @property
    def idle(self) -> list[tuple[Option, str]]:
        """The options that were given and do nothing, with their source."""
        return [(o, self.values[o.name][1]) for o in all_options() if o.name in self.values and not o.acts]

    @property
    def doubts(self) -> list[str]:
        """What will not be as it seems, in sentences."""
        asked, _ = self.values.get("max-model-len", (None, ""))
        window = find("max-model-len")
        assert window is not None
        c = self.configuration
        told = (
            window_doubt(_or_default(window.option, asked), c),
            event_doubt(c),
            tls_doubt(c),
            middleware_doubt(c),
            memory_doubt(c),
            speculation_doubt(c),
            step_time_doubt(c),
        )
        return [each for each in told if each]


def read_yaml(text: str, name: str) -> tuple[dict[str, tuple[Any, str]], list[Problem]]:
    """Read a configuration file.

    :param text: its content.
    :param name: how messages call it.
    :return: by option name, the values and the lines they come from; and every problem in it.
    """
    from vllmsim.config.plainyaml import PlainLoader, explained  # noqa: PLC0415 - see there

    try:
        loader = PlainLoader(text, _MOST_VALUES)
        with explained():
            root: Any = loader.get_single_node()
    except ValueError as error:
        line = getattr(error, "line", None)
        return {}, [Problem(name, str(error), f"line {line}" if line else "file")]
    if root is None:
        return {}, []
    if root.id != "mapping":
        return {}, [Problem(name, "the file must be a map from options to values", f"line {_line(root)}")]
    if len(root.value) > MOST_NAMED:
        return {}, [Problem(name, f"it has {len(root.value)} members, which are more than there are options", "file")]
    return _read_members(loader, root, name)


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _read_members(loader: Any, root: Any, name: str) -> tuple[dict[str, tuple[Any, str]], list[Problem]]:
    values: dict[str, tuple[Any, str]] = {}
    problems: list[Problem] = []
    plain = PlainValues(_MOST_VALUES, _MOST_BYTES)
    for key_node, value_node in root.value:
        key, origin = key_node.value, f"{name} line {_line(key_node)}"
        if key_node.id != "scalar":
            problems.append(Problem(name, "the name of an option must be text", origin))
            continue
        meaning = find(key)
        if meaning is None:
            guess = suggest(key)
            problems.append(Problem(key, "is no option" + (f"; did you mean {guess}?" if guess else ""), origin))
            continue
        option = meaning.option
        if option.name in values:
            fault = f"is there twice; first in {values[option.name][1]}"
            problems.append(Problem(key, fault, origin, option.name))
            continue
        try:
            value = _construct(loader, value_node, plain)
        except ValueError as error:
            problems.append(Problem(key, f"its value cannot be read: {error}", origin, option.name))
            continue
        if value is not None:
            try:
                read = option.kind.from_value(value)
            except UNREADABLE as error:
                problems += problems_of(option, key, value, error, origin)
            else:
                values[option.name] = (not read if meaning.negated else read, origin)
    return values, problems


def _construct(loader: Any, node: Any, plain: PlainValues) -> Any:
    from vllmsim.config.plainyaml import explained  # noqa: PLC0415 - see there

    with explained():
        value = loader.construct_object(node, deep=True)
    return plain.copy(value)


def _read_environment(environ: Mapping[str, str]) -> tuple[dict[str, tuple[Any, str]], list[Problem]]:
    values: dict[str, tuple[Any, str]] = {}
    problems: list[Problem] = []
    for option in own_options():
        text = environ.get(option.environment or "")
        if not text:
            continue
        origin = f"environment {option.environment}"
        try:
            values[option.name] = (option.kind.from_text(text), origin)
        except UNREADABLE as error:
            problems += problems_of(option, option.name, text, error, origin)
    return values, problems


def _read_file(path: str) -> tuple[dict[str, tuple[Any, str]], list[Problem]]:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode()
    except OSError as error:
        return {}, [Problem("--config", f"cannot read {path!r}: {error.strerror}", "command line")]
    except UnicodeDecodeError:
        return {}, [Problem("--config", f"{path!r} is not UTF-8 text", "command line")]
    if len(content) > _MOST_BYTES:
        return {}, [Problem("--config", f"{path!r} has more than {_MOST_BYTES} bytes", "command line")]
    return read_yaml(text, path)


def gather(arguments: Arguments, environ: Mapping[str, str]) -> tuple[dict[str, tuple[Any, str]], list[Problem]]:
    """Read every source.

    :param arguments: the command line, read.
    :param environ: the environment.
    :return: by option name, every value that is given, and where; and every problem.
    """
    values: dict[str, tuple[Any, str]] = {}
    problems: list[Problem] = []
    if arguments.config is not None:
        values, problems = _read_file(arguments.config)
    for more_values, more_problems in (
        _read_environment(environ),
        (arguments.values, arguments.problems),
    ):
        values |= more_values
        problems = problems + list(more_problems)
    return values, problems


def load(arguments: Arguments, environ: Mapping[str, str]) -> Loaded:
    """Put a configuration together.

    :param arguments: the command line, read.
    :param environ: the environment.
    :raises ConfigurationError: with everything that is wrong.
    """
    values, problems = gather(arguments, environ)
    given: dict[str, Any] = {o.attribute: _or_default(o, values[o.name][0]) for o in own_options() if o.name in values}
    configuration = Configuration(**given)
    if (blocks := room_for_blocks(configuration, values)) is not None:
        configuration = evolve(configuration, kv_cache_size=blocks)
    configuration = settle(configuration, [*values, *(["kv-cache-size"] if blocks else [])])
    doubtful = {problem.option for problem in problems}
    for name, fault in broken(configuration, doubtful):
        problems.append(Problem(name, fault, values.get(name, (None, "default"))[1], name))
    if configuration.scenario is not None and not problems:
        from vllmsim.config.scenario.reading import scenario_of  # noqa: PLC0415 - a start without one can do without

        try:
            scenario_of(configuration)
        except InvalidRequest as error:
            problems.append(Problem("scenario", error.message, values["scenario"][1], "scenario"))
    if problems:
        raise ConfigurationError(problems)
    return Loaded(configuration, values)


def _or_default(option: Option, value: Any) -> Any:
    """Read a value's "leave it to the program" as the default."""
    return option.default if value is None else value
