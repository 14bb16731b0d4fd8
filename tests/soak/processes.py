"""Programs beside the load: each reads its standard input, and says what it has found when that ends."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from attrs import define

_PATIENCE: Final = 150.0
_LONGEST_LINE: Final = 64 << 20


@define(eq=False)
class Program:
    """A running module of :mod:`tests`."""

    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, module: str, *words: object) -> "Program":
        """Start a module."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *map(str, words),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
        )  # fmt: skip
        return cls(process)

    def tell(self, line: Any) -> None:
        """Write a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line).encode() + b"\n")

    async def read(self, told: Callable[[dict[str, Any]], None]) -> None:
        """Take each line of it, until its end."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            told(json.loads(line))

    def end(self) -> None:
        """Have it come to its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def wait(self) -> None:
        """Wait for that.

        :raises ChildProcessError: when something has gone wrong with it.
        """
        async with asyncio.timeout(_PATIENCE):
            status = await self.process.wait()
        if status:
            raise ChildProcessError(f"a program of the soak ended with status {status}")

    async def last(self) -> dict[str, Any]:
        """Have it come to its end, and read the one line that it says then."""
        lines: list[dict[str, Any]] = []
        self.end()
        await self.read(lines.append)
        await self.wait()
        [line] = lines
        return line

    def kill(self) -> None:
        """End it now. Harmless when it has ended."""
        if self.process.returncode is None:
            self.process.kill()
