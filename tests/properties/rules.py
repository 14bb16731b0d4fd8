"""What may happen: clients ask, stop to read and leave, operators do what they can, and time passes."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.properties import bodies
from tests.properties.asked import Asked
from tests.properties.callers import Http2Caller, HttpCaller
from tests.properties.machine import RankMachine


class ClientRules(RankMachine):
    """What clients do."""

    def open_callers(self, kind: type[Any]) -> list[Any]:
        """List the connections on which more may be asked."""
        return [each for each in self.callers if isinstance(each, kind) and each.open]

    @rule(asked=bodies.right, data=st.data(), new=st.booleans())
    def ask_rightly(self, asked: Asked, data: st.DataObject, new: bool) -> None:
        """Ask for something over HTTP/1.1, perhaps behind something else."""
        known = self.open_callers(HttpCaller)
        caller = self.connect() if new or not known else data.draw(st.sampled_from(known))
        self.ask(caller, asked)

    @rule(asked=bodies.wrongs())
    def ask_wrongly(self, asked: Asked) -> None:
        """Ask for what there is not."""
        self.ask(self.connect(), asked)

    @rule(asked=st.one_of(bodies.right, bodies.calls), data=st.data(), new=st.booleans(), reads=st.booleans())
    def ask_over_http2(self, asked: Asked, data: st.DataObject, new: bool, reads: bool) -> None:
        """Ask for something beside something else."""
        known = self.open_callers(Http2Caller)
        caller = self.connect_http2(reads=reads) if new or not known else data.draw(st.sampled_from(known))
        asked.headers.pop("Connection", None)
        self.ask(caller, asked)

    @precondition(lambda self: any(each.open for each in self.callers))
    @rule(data=st.data(), how=st.sampled_from(("drop", "stop_reading", "read_on")))
    def change_mind(self, data: st.DataObject, how: str) -> None:
        """A client leaves, stops to read, or reads again."""
        caller = data.draw(st.sampled_from([each for each in self.callers if each.open]))
        getattr(caller, how)()
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


class OperatorRules(RankMachine):
    """What operators do."""

    @rule(mode=st.sampled_from(("abort", "keep", "wait")), clear=st.booleans())
    def pause(self, mode: str, clear: bool) -> None:
        """The rank pauses."""
        self.operate("POST", f"/pause?mode={mode}&clear_cache={str(clear).lower()}")

    @rule()
    def resume(self) -> None:
        """It goes on."""
        self.operate("POST", "/resume")

    @rule(level=st.integers(0, 2), mode=st.sampled_from(("abort", "keep", "wait")))
    def sleep(self, level: int, mode: str) -> None:
        """The rank sleeps."""
        self.operate("POST", f"/sleep?level={level}&mode={mode}")

    @rule(tags=st.sampled_from(("", "?tags=weights", "?tags=kv_cache")))
    def wake_up(self, tags: str) -> None:
        """It wakes up, perhaps in part."""
        self.operate("POST", "/wake_up" + tags)

    @rule(running=st.booleans())
    def reset(self, running: bool) -> None:
        """The prefix cache is to be empty."""
        self.operate("POST", f"/reset_prefix_cache?reset_running_requests={str(running).lower()}")

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        """A request is ended, or all are."""
        ids = [record.answer_id for record in self.records() if record.answer_id and record.outcome is None]
        named = data.draw(st.sampled_from([None, "twin", *ids]))
        self.operate("POST", "/abort_requests", {} if named is None else {"request_ids": [named]})

    @rule(name=st.sampled_from(("a", "b", "c")), path=st.sampled_from(("/x", "/y")), in_place=st.booleans())
    def load(self, name: str, path: str, in_place: bool) -> None:
        """An adapter comes, perhaps in the place of another."""
        self.operate("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path, "load_inplace": in_place})

    @rule(name=st.sampled_from(("a", "b", "c")))
    def unload(self, name: str) -> None:
        """An adapter goes; requests that were let in go on."""
        self.operate("POST", "/v1/unload_lora_adapter", {"lora_name": name})


class WholeRankMachine(ClientRules, TimeRules, OperatorRules):
    """All of them."""
