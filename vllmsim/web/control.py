# -*- test-case-name: tests.web.test_control -*-
"""The routes that control a rank: pause and resume, sleep and wake up, abort. vLLM has them in its development mode."""

from typing import ClassVar

import orjson
from attrs import define
from klein import Klein

from vllmsim.api.body import read_query
from vllmsim.api.control import AbortBody, PauseQuery, SleepQuery, WakeQuery, read_abort
from vllmsim.api.description import READING, Response
from vllmsim.api.shapes.control import Aborted, IsPaused, IsSleeping, Paused, Resumed, Slept, Woken
from vllmsim.errors import MalformedRequest
from vllmsim.interfaces import IRankControl
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class AbortRoutes:
    """Aborts requests."""

    app: ClassVar[Klein] = Klein()

    _control: IRankControl

    @app.route("/abort_requests", methods=["POST"])
    @described(
        "Control", Response(Aborted), body=AbortBody, optional=True, errors=READING, example={"request_ids": ["x"]}
    )
    def abort(self, request: Request) -> None:
        """Abort the requests that are named, or all if none is."""
        count = self._control.abort(read_abort(request.content.read(), request.head) or ())
        request.answer(200, orjson.dumps({"status": "aborted", "aborted": count}))


@define(slots=False, eq=False)
class ControlRoutes:
    """Pauses a rank, and puts it to sleep.

    A rank that may not sleep, because it was started without ``enable-sleep-mode``, answers ``/sleep`` with 200 as
    llm-d-inference-sim does, and says that it is awake: a client that looks at the status alone is not stopped, and one
    that reads the answer is not deceived.
    """

    app: ClassVar[Klein] = Klein()

    _control: IRankControl

    @app.route("/pause", methods=["POST"])
    @described("Control", Response(Paused), query=PauseQuery, errors=(MalformedRequest,))
    async def pause(self, request: Request) -> None:
        """Let no more requests in, and answer when nothing runs or what runs stands still."""
        query = read_query(PauseQuery, request.arguments)
        await self._control.pause(query.mode, query.clear_cache)
        request.answer(200, b'{"status":"paused"}')

    @app.route("/resume", methods=["POST"])
    @described("Control", Response(Resumed))
    def resume(self, request: Request) -> None:
        """Go on."""
        self._control.resume()
        request.answer(200, b'{"status":"resumed"}')

    @app.route("/is_paused", methods=["GET"])
    @described("Control", Response(IsPaused))
    def is_paused(self, request: Request) -> None:
        """Answer whether the rank is paused."""
        request.answer(200, orjson.dumps({"is_paused": self._control.paused()}))

    @app.route("/sleep", methods=["POST"])
    @described("Control", Response(Slept), query=SleepQuery, errors=(MalformedRequest,))
    async def sleep(self, request: Request) -> None:
        """Fall asleep, and answer when nothing runs or what runs stands still."""
        query = read_query(SleepQuery, request.arguments)
        await self._control.sleep(query.level, query.mode)
        request.answer(200, orjson.dumps({"status": self._state, "level": query.level}))

    @app.route("/wake_up", methods=["POST"])
    @described("Control", Response(Woken), query=WakeQuery, errors=(MalformedRequest,))
    def wake_up(self, request: Request) -> None:
        """Wake up, wholly or in part."""
        query = read_query(WakeQuery, request.arguments, lists={"tags"})
        self._control.wake_up(query.tags or ())
        request.answer(200, orjson.dumps({"status": self._state, "tags": query.tags}))

    @app.route("/is_sleeping", methods=["GET"])
    @described("Control", Response(IsSleeping))
    def is_sleeping(self, request: Request) -> None:
        """Answer whether the rank is asleep."""
        request.answer(200, orjson.dumps({"is_sleeping": self._control.sleeping()}))

    @property
    def _state(self) -> str:
        return "sleeping" if self._control.sleeping() else "awake"
