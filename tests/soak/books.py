"""Two books about every request: the clients' and the server's, which is its request log. They must agree."""

import json
from collections import Counter
from pathlib import Path
from typing import IO, Any, Final

from attrs import define, field

from tests.soak.answers import Ending

_LARGE: Final = 8 << 20
"""Bytes after which the request log is moved away, as logrotate does."""
_SHOWN: Final = 20
_CALLS: Final = "/vllm."
"""What routes of calls over gRPC begin with."""
_UNSEEN: Final = (("left", "head"), ("left", "body"), ("left", "waiting"), ("broken", "late"))
"""How requests may have ended that never came to the server."""
Record = dict[str, Any]


def disagreement(ending: Ending, record: Record) -> str:
    """Compare what both say of a request; empty when they agree."""
    outcome, fault = record["outcome"], record["fault"]
    if outcome in ("failed", "unfinished"):
        return f"the server says {outcome}: {record['error']}"
    if ending.how == "left":
        return ""
    status = record["status"] if record["grpc_status"] is None else record["grpc_status"]
    # A message of Anthropic's API has no word for what an operator ended.
    unsaid = outcome == "aborted" and ending.kind == "message"
    nowhere = outcome == "completed" and record["route"] == "none"
    agreed = {
        "whole": outcome == "completed" or (outcome == "injected" and fault is not None) or unsaid,
        "aborted": outcome == "aborted" or (outcome == "injected" and fault is not None),
        "error": (outcome in ("refused", "invalid", "injected", "aborted") or nowhere) and status == ending.status,
        "broken": outcome == "injected" and fault is not None,
    }[ending.how]
    if not agreed:
        return f"{ending.how} {ending.status} {ending.trouble} for its client, {outcome} {status} in the log"
    if ending.how == "whole" and ending.generated not in (None, record["generated_tokens"]):
        return f"{ending.generated} tokens for its client, {record['generated_tokens']} in the log"
    return ""


@define(eq=False)
class Books:
    """Takes both books line by line, and forgets what agrees.

    :param path: the request log.
    """

    path: Path
    sent: int = field(init=False, default=0)
    settled: int = field(init=False, default=0)
    unseen: int = field(init=False, default=0)
    """Requests of which the server could see no body."""
    ways: Counter[tuple[str, str]] = field(init=False, factory=Counter)
    """How requests of each kind ended for their clients."""
    outcomes: Counter[str] = field(init=False, factory=Counter)
    """How they ended for the server."""
    finished: Counter[str] = field(init=False, factory=Counter)
    """Sequences by the reason for their ends, as the request log has them."""
    routes: Counter[str] = field(init=False, factory=Counter)
    """Requests over HTTP, as the request log has them."""
    tokens: int = field(init=False, default=0)
    """Tokens that clients have counted in whole answers."""
    troubles: list[str] = field(init=False, factory=list)
    _open: set[str] = field(init=False, factory=set)
    _endings: dict[str, Ending] = field(init=False, factory=dict)
    _records: dict[str, Record] = field(init=False, factory=dict)
    _file: IO[bytes] | None = field(init=False, default=None)
    _moved: Path | None = field(init=False, default=None)
    _rest: bytes = field(init=False, default=b"")

    def told(self, line: dict[str, Any]) -> None:
        """Take a line of a client's."""
        if "sent" in line:
            self.sent += 1
            self._open.add(line["sent"])
            return
        ending = Ending(**line)
        self._open.discard(ending.id)
        self.ways[ending.kind, ending.how] += 1
        self.tokens += (ending.generated or 0) if ending.how == "whole" else 0
        record = self._records.pop(ending.id, None)
        if record is None:
            self._endings[ending.id] = ending
        else:
            self._settle(ending, record)

    def follow(self) -> None:
        """Take what is new in the request log."""
        if self._file is None:
            if not self.path.exists():
                return
            self._file = self.path.open("rb")
        last = self._moved is not None and self.path.exists()
        data = self._rest + self._file.read()
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            self._logged(json.loads(line))
        if last and self._moved is not None:
            # Nothing is written to the old file once there is a new one.
            self._file.close()
            self._moved.unlink()
            self._file = self._moved = None
        elif self._moved is None and self._file.tell() > _LARGE:
            self._moved = self.path.rename(self.path.with_suffix(".moved"))

    def close(self) -> list[str]:
        """Find what does not agree when all is over."""
        self.follow()
        self.troubles += [f"{each} has no end" for each in sorted(self._open)[:_SHOWN]]
        for ending in self._endings.values():
            if (ending.how, ending.leave) in _UNSEEN:
                self.unseen += 1
            else:
                self.troubles.append(f"{ending} is not in the request log")
        self.troubles += [f"nobody has sent {_told(each)}" for each in self._records.values()]
        if self._file is not None:
            self._file.close()
        return self.troubles

    def _logged(self, record: Record) -> None:
        self.outcomes[record["outcome"]] += 1
        if not record["route"].startswith(_CALLS):
            self.routes[record["route"]] += 1
        for choice in record["choices"] or ():
            if choice is not None and choice["finish_reason"] is not None:
                self.finished[choice["finish_reason"]] += 1
        name = record["headers"].get("x-request-id", f"number {record['number']}")
        ending = self._endings.pop(name, None)
        if ending is None:
            self._records[name] = record
        else:
            self._settle(ending, record)

    def _settle(self, ending: Ending, record: Record) -> None:
        self.settled += 1
        if trouble := disagreement(ending, record):
            self.troubles.append(f"{ending.id} ({ending.kind}): {trouble}; {_told(record)}")


def _told(record: Record) -> str:
    members = ("number", "route", "outcome", "status", "fault", "error", "stream", "sampling", "choices", "times")
    return json.dumps({name: record[name] for name in members})
