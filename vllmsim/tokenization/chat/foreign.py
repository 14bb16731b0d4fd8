# -*- test-case-name: tests.tokenization.chat.test_foreign -*-
"""Templates that requests bring are rendered by a process that may be lost.

What a template does cannot be bounded from inside: ``9 ** (9 ** 9)`` holds the interpreter, and a text that is doubled
forty times takes all memory. The process has a bound for its memory, and an alarm that ends it when a template takes
too long; then the next template gets a new one. It is started when the first such template comes.

Parent and child speak over pipes. Each message is its length in four bytes and as many bytes. The child is told the
arguments of :class:`vllmsim.tokenization.chat.rendering.Renderer` and of its method in JSON, and answers ``+`` and a
text, or ``-`` and why there is none.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from vllmsim.tokenization.chat.turns import RefusedError

_LENGTH: Final = 4
_MOST_CHARACTERS: Final = 8 << 20
"""How long a rendered conversation may be."""
_MOST_REASON: Final = 4096
"""How many characters of a template's own refusal are told."""
_MOST_MEMORY: Final = 512 << 20
_REMEMBERED: Final = 16
_TOO_DEEP: Final = "What the chat template is told is nested too deeply."
_KEPT: Final = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ")
"""Variables that the process has of ours: what it runs is a stranger's, and others may be keys."""
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from vllmsim.tokenization.chat.foreign import main; main(sys.argv)"
)


@define(eq=False)
class ForeignTemplates:
    """Renders templates that are not trusted, one at a time.

    :param defer_to_thread: runs a function off the reactor.
    :param patience: seconds that one may take.
    """

    _defer_to_thread: Callable[..., Deferred[str]]
    _patience: float = 2.0
    _turn: DeferredLock = field(init=False, factory=DeferredLock)
    _process: "subprocess.Popen[bytes] | None" = field(init=False, default=None)

    async def render(self, source: str, form: str, arguments: Mapping[str, Any]) -> str:
        """Apply a template.

        :param source: the template.
        :param form: how it takes content; ``auto`` to look.
        :param arguments: those of :meth:`vllmsim.tokenization.chat.rendering.Renderer.render`.
        :raises RefusedError: when the template refuses, or is too much.
        """
        await self._turn.acquire()
        rendered: Deferred[str] = Deferred()
        # The turn ends with the work, also when nobody waits for it any more: there is one pipe.
        self._defer_to_thread(self._render, source, form, arguments).addBoth(self._finish, rendered)
        return await rendered

    def _finish(self, result: str | Failure, rendered: Deferred[str]) -> None:
        self._turn.release()
        rendered.callback(result)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate()

    def _render(self, source: str, form: str, arguments: Mapping[str, Any]) -> str:
        try:
            request = json.dumps({"source": source, "form": form, "arguments": arguments}).encode()
        except RecursionError:
            raise RefusedError(_TOO_DEEP) from None
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, request)
            answer = _receive(process.stdout)
        except OSError:
            answer = b""
        if not answer:
            self.close()
            raise RefusedError(f"The chat template takes more than {self._patience:g} seconds, or too much memory.")
        text = answer[1:].decode()
        if answer[:1] != b"+":
            raise RefusedError(text)
        return text

    def _start(self) -> "subprocess.Popen[bytes]":
        root = Path(__file__).parents[3]
        words = [sys.executable, "-I", "-c", _START, str(root), str(self._patience)]
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return subprocess.Popen(words, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment)  # noqa: S603 - words of ours


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(_LENGTH, "big") + message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    """Read a message.

    :return: nothing at the end of the stream.
    """
    length = int.from_bytes(stream.read(_LENGTH), "big")
    message = stream.read(length)
    return message if len(message) == length else b""


def main(words: list[str]) -> None:
    """Be the process: render what comes until nothing more does.

    :param words: where our packages are, and the seconds that a template may take.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    serve(sys.stdin.buffer, sys.stdout.buffer, float(words[-1]))


def serve(requests: IO[bytes], answers: IO[bytes], patience: float) -> None:
    """Render what comes.

    :param patience: seconds that one may take; then the process ends.
    """
    from vllmsim.tokenization.chat.rendering import Renderer, make_environment  # noqa: PLC0415 - the parent needs no Jinja

    environment = make_environment(time.time)
    # The system's own way to take SIGALRM ends the process, whatever it does.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    @lru_cache(maxsize=_REMEMBERED)
    def compiled(source: str, form: str) -> Renderer:
        return Renderer(environment, source, form)

    while message := _receive(requests):
        signal.setitimer(signal.ITIMER_REAL, patience)
        try:
            request = json.loads(message)
            text = compiled(request["source"], request["form"]).render(**request["arguments"])
            answer = "+" + text if len(text) <= _MOST_CHARACTERS else "-The chat template makes too long a text."
        except (RefusedError, MemoryError) as error:
            answer = f"-{str(error)[:_MOST_REASON] or 'The chat template takes too much memory.'}"
        except RecursionError:
            answer = f"-{_TOO_DEEP}"
        # Half a pair of surrogates is no character. To replace many takes long, which is to be bounded here.
        _send(answers, answer.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode())
        signal.setitimer(signal.ITIMER_REAL, 0)
