"""Calls of gRPC that are none, to each method of each service, and floods of frames below them."""

import select
import socket
import time
from random import Random
from typing import Final

from hpack import Encoder

from tests.fuzz.daemon import FuzzTestCase
from tests.fuzz.grpccalls import Calls, f, floods, methods
from tests.fuzz.report import Refused
from tests.integration.calling import Wire
from tests.integration.daemon import PATIENCE
from vllmsim.api.frames import PREFIX
from vllmsim.grpc.status import Code
from vllmsim.web.doorway import PREFACE

_QUIET: Final = 0.05
"""Seconds without news behind which what streams, or is not complete, is left."""
_ENDED: Final = 1 << 20


class GrpcTests(FuzzTestCase):
    """A daemon that is called by programs with mistakes."""

    surface = "gRPC frames"
    words = (*FuzzTestCase.words[:2], "--max-num-seqs", "64")
    most_growth = 64 * 1024

    def test_survives(self) -> None:
        """Whatever frames and messages come, each call ends with a status that says why, and others are served."""
        self.fuzz(60, self.one)

    def one(self, chance: Random, _: int) -> None:
        """Play one connection."""
        with socket.create_connection(("127.0.0.1", self.daemon.port), PATIENCE) as connection:
            if chance.random() < 0.15:
                self.flood(chance, connection)
            else:
                try:
                    self.calls(chance, connection)
                except OSError:
                    raise Refused from None
                finally:
                    self.go_on()

    def calls(self, chance: Random, connection: socket.socket) -> None:
        """Call some methods, one after another."""
        wire, said = Wire(connection), Calls(chance)
        codes = set()
        for _ in range(chance.choice((1, 1, 2, 4))):
            path, method = said.target()
            if chance.random() < 0.03:
                path = chance.choice(("/", "//", "/x", f"{path}x", "/" + "a" * 5000, "/%00/%ff"))
            metadata = {name.replace("-", "_"): value for name, value in said.metadata().items()}
            body = said.body(method)
            left_open = chance.random() < 0.05
            number = wire.call(path, body or None, **metadata)
            if not body and not left_open:
                wire.h2.end_stream(number)
                wire.flush()
            endless = left_open or method.descriptor.server_streaming or method.descriptor.client_streaming
            if not self.read(wire, number, endless=endless):
                if endless and chance.random() < 0.5 and not wire.closed:
                    wire.h2.reset_stream(number)
                    wire.flush()
                break
            told = wire.headers.get(number, {})
            code = int(told.get("grpc-status", -1))
            if code == -1:
                http = told.get(":status", "")
                self.assertTrue(number in wire.reset or http.startswith("4"), (path, told, wire.reset))
            self.assertNotEqual(Code.UNKNOWN, code, (path, told))
            codes.add(code)
        if not codes <= {Code.OK}:
            raise Refused

    def go_on(self) -> None:
        """Have what was paused, or put to sleep, go on."""
        with socket.create_connection(("127.0.0.1", self.daemon.port), PATIENCE) as connection:
            wire = Wire(connection)
            for path in ("/vllm.Control/ResumeGeneration", "/vllm.Control/WakeUp"):
                wire.status(wire.call(path, PREFIX.pack(0, 0)))

    def read(self, wire: Wire, number: int, *, endless: bool) -> bool:
        """Read until a call has ended.

        :param endless: whether it may not.
        :return: whether it has.
        """
        end = time.monotonic() + PATIENCE
        while number not in wire.ended and number not in wire.reset and not wire.closed and wire.gone is None:
            if select.select([wire.socket], [], [], _QUIET if endless else 1)[0]:
                wire.read()
            elif endless:
                return False
            if time.monotonic() > end:
                if endless:
                    return False
                raise AssertionError("a call has not ended")
        return number in wire.ended or number in wire.reset

    def flood(self, chance: Random, connection: socket.socket) -> None:
        """Send a flood, and read until the daemon hangs up or says nothing more."""
        path, _ = chance.choice(methods())
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), ("content-type", "application/grpc")]

        def head(target: bytes) -> bytes:
            block: bytes = Encoder().encode([*fields, (":path", target), ("te", "trailers")])
            return block

        connection.setblocking(False)
        data = PREFACE + f(4, 0, 0, b"") + b"".join(floods(chance, path.encode(), head))
        begin, heard = time.monotonic(), 0
        quiet = False
        while not quiet and time.monotonic() - begin < PATIENCE and heard < _ENDED:
            readable, writable, _ = select.select([connection], [connection] if data else [], [], _QUIET)
            quiet = not readable and not writable
            try:
                if readable:
                    piece = connection.recv(1 << 16)
                    heard += len(piece)
                    if not piece:
                        break
                if writable:
                    data = data[connection.send(data[: 1 << 16]) :]
            except OSError:
                break
        raise Refused
