"""What may happen: clients ask, stop to read and leave, operators do what they can, and time passes."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.properties import bodies
from tests.properties.asked import Asked
from tests.properties.callers import Http2Caller, HttpCaller
from tests.properties.machine import RankMachine
from tests.properties.operating import OperatorRules


class ClientRules(RankMachine):
    """What clients do."""

    def open_callers(self, kind: type[Any]) -> list[Any]:
        """List the connections on which more may be asked."""
        return [each for each in self.callers if isinstance(each, kind) and each.open]

    @rule(asked=bodies.anything, data=st.data(), new=st.booleans())
    def ask_one(self, asked: Asked, data: st.DataObject, new: bool) -> None:
        """Ask for something over HTTP/1.1, perhaps behind something else."""
        known = self.open_callers(HttpCaller)
        caller = self.connect() if new or not known else data.draw(st.sampled_from(known))
        self.ask(caller, asked)

    @rule(several=st.lists(bodies.right, min_size=2, max_size=6), pipelined=st.booleans())
    def ask_several(self, several: list[Asked], pipelined: bool) -> None:
        """Ask for several things at once."""
        caller = self.connect()
        for asked in several:
            self.ask(caller, asked)
            if not pipelined:
                caller = self.connect()

    @rule(asked=st.one_of(bodies.anything, bodies.calls), data=st.data(), new=st.booleans(), reads=st.booleans())
    def ask_over_http2(self, asked: Asked, data: st.DataObject, new: bool, reads: bool) -> None:
        """Ask for something beside something else."""
        known = self.open_callers(Http2Caller)
        caller = self.connect_http2(reads=reads) if new or not known else data.draw(st.sampled_from(known))
        asked.headers.pop("Connection", None)
        self.ask(caller, asked)

    @precondition(lambda self: any(each.waiting for each in self.callers))
    @rule(data=st.data(), how=st.sampled_from(("stop_reading", "read_on", "drop")))
    def change_mind(self, data: st.DataObject, how: str) -> None:
        """A client that waits for something stops to read, reads again, or leaves."""
        caller = data.draw(st.sampled_from([each for each in self.callers if each.waiting]))
        getattr(caller, how)()
        self.settle()

    @rule(asked=bodies.right, seconds=st.sampled_from((1.0, 5.0)))
    def read_late(self, asked: Asked, seconds: float) -> None:
        """A client asks, reads nothing for a while, and then all."""
        caller = self.connect()
        caller.stop_reading()
        self.ask(caller, asked)
        for _ in range(10):
            self.clock.advance(seconds / 10)
            self.settle()
        caller.read_on()
        self.settle()

    @precondition(lambda self: any(isinstance(each, Http2Caller) and each.waiting for each in self.callers))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A client wants no more of one answer."""
        callers = [each for each in self.callers if isinstance(each, Http2Caller) and each.waiting]
        caller = data.draw(st.sampled_from(callers))
        caller.cancel(data.draw(st.sampled_from([*caller.waiting])))
        self.settle()


class TimeRules(RankMachine):
    """What time does."""

    @rule(seconds=st.sampled_from((0.0, 0.1, 0.3, 1.0, 3.0, 20.0)), pieces=st.sampled_from((1, 4)))
    def wait(self, seconds: float, pieces: int) -> None:
        """Time passes, perhaps in steps."""
        for _ in range(pieces):
            self.clock.advance(seconds / pieces)
            self.settle()


class WholeRankMachine(ClientRules, TimeRules, OperatorRules):
    """All of them."""
