# -*- test-case-name: tests.integration.test_clock -*-
"""The daemon as a child process, on a port of the loopback address."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from tempfile import TemporaryFile
from types import TracebackType
from typing import Final, Self

from vllmsim.interpreter import environment, python

_PATIENCE: Final = 30.0
"""Seconds that it may take to start, or to stop."""
_SHOWN: Final = 4000


class NotStarted(Exception):
    """The daemon ended, or does not answer: the text is the end of its log."""


def free_port() -> int:
    """Find a port of the loopback address that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Daemon:
    """Runs while its ``with`` block does.

    :param words: its command line.
    :param port: where it will listen according to that.
    """

    def __init__(self, words: Sequence[str], port: int) -> None:
        self._words = words
        self._port = port
        self._log = TemporaryFile()  # noqa: SIM115 - it is closed by __exit__

    def __enter__(self) -> Self:
        """Start it and wait until it is ready.

        :raises NotStarted: when it is not.
        """
        # In a session of its own, so that ctrl-C reaches this program alone, which then stops the daemon in order.
        self._process = subprocess.Popen(  # noqa: S603 - this program
            [*python("vllmsim"), *self._words],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._process.send_signal(signal.SIGTERM if error is None else signal.SIGKILL)
        try:
            self._process.wait(_PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()

    def _wait(self) -> None:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            if self._ready():
                return
            time.sleep(0.02)
        raise NotStarted(self._said() or f"it does not answer on port {self._port}")

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _said(self) -> str:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _SHOWN))
        return self._log.read().decode("utf-8", "replace").strip()
