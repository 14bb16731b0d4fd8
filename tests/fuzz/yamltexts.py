"""Texts that somebody might give as YAML, made by chance: real ones, broken ones, and ones made to do harm."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

_SCALARS: Final = (
    "", "~", "null", "true", "no", "0", "-1", "007", "0o17", "0x1F", "1_000", "190:20:30", "1:60.5", "1e400", ".inf",
    "-.inf", ".nan", "2001-12-14", "2001-12-14t21:59:43.10-05:00", "2001-99-99", "9" * 400, "9" * 5000, "1.5", "1ms",
    "-1s", "'", '"', '"\\ud800"', '"\\0"', '"\\x1b[2J"', '"a\\nb"', "=", "<<", "*a", "*none", "&a", "&a x", "!!int x",
    "!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary '!'", "!!binary aGk=", "!!set {a}",
    "!!omap [a: 1]", "!!pairs [a: 1]", "!!null x", "!!str 1", "!!seq {}", "!!map []", "!!merge x", "! x", "!x y",
    "!<x> y", "%x", "@x",
    "`x", "|", ">", "{", "}", "[", "]", "{}", "[]", "{a: 1}", "[1, x, ~]", "{a: 1, a: 2}", "{[1]: 2}", "{{a: 1}: 2}",
    "? x", "- x", ": ", "#", "---", "...", "!!python/object:os.system x", "!!python/object/apply:os.system ['false']",
    "!!python/name:os.system", "!!python/tuple [1]", "/dev/null", "/dev/zero", "/", "/proc/self/mem", "{}/{}", "{rank}",
    "\t", "x\ty", "\x00", "\x07", "\x85", "\u2028", "\ufeff", "\ufffe", "é", "日本", "😀", "x" * 3000,
)  # fmt: skip
_INSERTED: Final = (
    b"\0", b"\t", b"\r", b"\n", b"\n\n", b"  ", b"\n- ", b": ", b"&a ", b"*a", b"!!python/object:os.system ", b"---\n",
    b"...\n", b"%YAML 9.9\n", b"%TAG ! x\n", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xfe\xff", b"{",
    b"]", b"'", b'"', b"|", b"<<: *a\n", b"? ", b"# ", b"\x1b[2J", b"\xc2\x85", b"\xe2\x80\xa8",
)  # fmt: skip


class YamlTexts:
    """Texts of one kind.

    :param chance: decides.
    :param real: texts of this kind that are as they should be.
    :param names: what members may be called.
    :param more: what values may be, beside the usual.
    """

    def __init__(
        self, chance: random.Random, real: Sequence[str], names: Sequence[str], more: Sequence[str] = ()
    ) -> None:
        self._chance, self._real, self._names, self._more = chance, real, names, more

    def make(self) -> bytes:
        """Make a text."""
        chance = self._chance
        makers: Sequence[Callable[[], str]] = (self._real_one, self._members, self._members, self._harm)
        text = chance.choice(makers)()
        if chance.random() < 0.3:
            text = self._shuffled(text.splitlines(keepends=True))
        data = text.encode(chance.choice((*["utf-8"] * 12, "utf-8-sig", "utf-16", "utf-32", "utf-16-le")), "replace")
        for _ in range(chance.choice((0, 0, 1, 1, 2, 5, 20))):
            data = self._wrong(data)
        return data

    def value(self, depth: int = 0) -> str:
        """Make a value in one line."""
        chance = self._chance
        pick = chance.random()
        if pick < 0.6 or depth > 4:
            return chance.choice(self._more if self._more and pick < 0.05 else _SCALARS)
        some = range(chance.randrange(4))
        if pick < 0.8:
            return "[" + ", ".join(self.value(depth + 1) for _ in some) + "]"
        return "{" + ", ".join(f"{self._name()}: {self.value(depth + 1)}" for _ in some) + "}"

    def _name(self) -> str:
        return self._chance.choice((*self._names, *_SCALARS) if self._chance.random() < 0.1 else self._names)

    def _real_one(self) -> str:
        """Take one as it should be, maybe with other values in it."""
        lines = self._chance.choice(self._real).splitlines()
        for _ in range(self._chance.choice((0, 1, 3))):
            at = self._chance.randrange(len(lines))
            name, colon, _ = lines[at].partition(": ")
            lines[at] = f"{name}{colon}{self.value()}"
        return "\n".join(lines) + "\n"

    def _members(self) -> str:
        return "".join(f"{self._name()}: {self.value()}\n" for _ in range(self._chance.randrange(1, 8)))

    def _shuffled(self, lines: list[str]) -> str:
        """Leave out, repeat, move or shift some lines."""
        chance = self._chance
        for _ in range(chance.randrange(1, 5)):
            if not lines:
                break
            at = chance.randrange(len(lines))
            line = lines.pop(at)
            for other in chance.choice(((), (line, line), ("  " + line,), (line.lstrip(),), ("\t" + line,))):
                lines.insert(chance.randrange(len(lines) + 1), other)
        return "".join(lines)

    def _wrong(self, data: bytes) -> bytes:
        """Change some bytes."""
        chance = self._chance
        at = chance.randrange(len(data) + 1)
        to = at + chance.choice((0, 0, 1, 1, 10, 100))
        return data[:at] + chance.choice((b"", chance.randbytes(1), *_INSERTED)) + data[to:]

    def _harm(self) -> str:
        """Make little text that would be a lot of something."""
        chance, name, size = self._chance, self._name(), self._chance.choice((5, 30, 300, 3000))
        kinds: Sequence[Callable[[], str]] = (
            lambda: f"{name}: " + "[" * size * chance.choice((1, 10)),
            lambda: f"{name}: " + "[" * size + "]" * size,
            lambda: f"{name}: " + "{a: " * size + "}" * size,
            lambda: "\n".join(" " * depth + "a:" for depth in range(min(size, 400))),
            lambda: "- " * size,
            lambda: "? " * size,
            lambda: "".join(f"k{number}: 1\n" for number in range(size)),
            lambda: f"{name}: 1\n" * size,
            lambda: f"{name}: [" + "x, " * size + "]",
            lambda: f"{name}: |\n" + "  x\n" * size,
            lambda: f"{name}: '" + "x" * size * 30 + "'",
            lambda: f"? {'x' * size}\n: 1\n",
            lambda: f"--- {{{name}: 1}}\n" * size,
            lambda: f"{name}: &a [*a]",
            lambda: f"{name}: &a {{b: *a}}",
            lambda: f"&a {name}: *a",
            lambda: f"&r\n{name}: 1\nx: *r",
            lambda: _bomb(name, range(chance.choice((3, 9, 40))), "[{}]"),
            lambda: _bomb(name, range(chance.choice((3, 9, 40))), "{{{}}}", "k{}: "),
            lambda: _bomb(name, range(chance.choice((3, 9, 40))), "{{<<: [{}]}}", first="{x: 1}"),
            lambda: "? " + _bomb(name, range(9), "[{}]").replace("\n", "\n? "),
            lambda: _merges(chance.choice((3, 20, 200))),
            lambda: f"{name}: &{'a' * size} 1\nb: *{'a' * size}c",
            lambda: f"{name}: !{'t' * size} 1",
            lambda: f"%TAG !e! {'t' * size}\n---\n{name}: !e!x 1",
        )
        return chance.choice(kinds)() + "\n"


def _bomb(name: str, levels: Iterable[int], whole: str, member: str = "", first: str = "x") -> str:
    """Make aliases of aliases: each level is ten of the one below."""
    lines = [f"l: &l {first}"]
    last = "l"
    for level in levels:
        lines.append(
            f"l{level}: &l{level} " + whole.format(", ".join(member.format(n) + f"*{last}" for n in range(10)))
        )
        last = f"l{level}"
    return "\n".join([*lines, f"{name}: *{last}"])


def _merges(levels: int) -> str:
    """Make maps, each of which has a member more than the one that it is merged with, twice."""
    lines = ["m0: &m0 {k: 1}"]
    lines += [f"m{each}: &m{each} {{<<: [*m{each - 1}, *m{each - 1}], k{each}: 1}}" for each in range(1, levels)]
    return "\n".join(lines)
