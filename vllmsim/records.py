# -*- test-case-name: tests.test_records -*-
"""What is remembered of one request: delivery begins it, scheduling writes to it what happens, delivery ends it.

A record is plain data that may change until its request has come to its end. It keeps nothing that is large: no prompt,
no answer, and of the body no more than it is given. Times are seconds of the rank's clock, but for the one that says
since the epoch. Nothing here knows HTTP but :class:`HttpFacts`, and requests of another protocol have none.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from attrs import define, evolve, field

from vllmsim.errors import InferenceError, Overloaded, QueueFull, RateLimited, Unavailable, UnknownModel
from vllmsim.inference import FinishReason, InferenceRequest
from vllmsim.sampling import Sampling

State: TypeAlias = Literal["reading", "waiting", "running", "sending", "done"]
"""Where a request is: its body and its prompts are read; all its sequences wait, or some run; its answer is known and
on its way to the client; it has come to its end."""
Outcome: TypeAlias = Literal[
    "completed", "disconnected", "aborted", "refused", "invalid", "failed", "injected", "unfinished"
]
"""What became of a request: it was answered; its client left; an operator ended it; there was no room, or too little of
its prompt cached; it was wrong; something went wrong here; a fault was injected; the server stopped before its end."""

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"
"""The headers by which a request is part of a trace (W3C Trace Context)."""
MOST_CHOICES: Final = 128
"""Of how many choices each is remembered for itself."""
_NUMBERED: Final = "cmpl-"
"""What the ids of answers begin with whose prompts are requests of their own to the engine."""
_LONGEST_NAME: Final = 256
_LONGEST_MESSAGE: Final = 1024
_MOST_ITEMS: Final = 16
_LONGEST_ITEM: Final = 64
_FIRST_SERVER_FAULT: Final = 500
_TRACED: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_FIRST_VERSION: Final = b"00"
_REFUSALS: Final = (QueueFull, Overloaded, RateLimited, Unavailable)


@define(eq=False)
class HttpFacts:
    """What a request is over HTTP.

    :param path: as it was sent, with its query string.
    :param headers: names in lower case; of one that was sent several times the last.
    :param body: the first bytes of the body, as many as are kept.
    :param body_bytes: how long the whole was.
    :param status: the status of the answer; 0 as long as there is none.
    :param grpc_status: how a call of gRPC went, such as ``NOT_FOUND``; None before its end, and for what is no call.
    """

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes = b""
    body_bytes: int = 0
    status: int = 0
    grpc_status: str | None = None

    @property
    def trace_id(self) -> str | None:
        """The trace that its client says that it is part of, in hexadecimal digits; None if it says nothing valid."""
        match = _TRACED.fullmatch(self.headers.get(TRACEPARENT, b"").strip())
        if match is None or (match[1] == _FIRST_VERSION and match[3]):
            return None
        return match[2].decode()


@define(eq=False)
class RequestRecord:
    """One request, from its arrival to its end and beyond.

    :param route: the template of the path that it came on, or the method of another protocol.
    :param number: the how manieth request of its rank it is, from 1.
    :param rank: the data-parallel rank that serves it.
    :param base: the name of the base model; any other that answers is an adapter's.
    :param tenant: whose client has sent it, if that is known.
    :param arrived: when it came, in seconds since the epoch.
    :param began: the same by the rank's clock.
    :param http: what it is over HTTP, if it came so.
    :param answer_id: the id of its answer; empty as long as there is none.
    :param request_id: the part of it that follows its prefix.
    :param asked: the model that it names, if it names one.
    :param model: the name under which it is answered; empty until that is known.
    :param prompts: how many prompts it has.
    :param sampling: its parameters; only for generation.
    :param waiting: how many of its sequences wait for a slot.
    :param running: how many run.
    :param queued: when its first sequence began to wait; None for not yet, as for all times.
    :param started: when the first left the queue for a slot.
    :param first_token: when the first token was out.
    :param last_token: when the last one was out.
    :param finished: when it came to its end.
    :param planned_first_token: seconds from the start to the first token, as the latency model drew them.
    :param prompt_tokens: of all prompts.
    :param cached_tokens: how many of them were not computed here.
    :param generated_tokens: of all choices.
    :param choices: tokens and finish reason of each of the first :data:`MOST_CHOICES`; no reason for one that was cut.
    :param aborted: whether an operator has ended some of it.
    :param refusals: how many of its choices were refused since too little was cached.
    :param preemptions: how many times its sequences lost their slots to others.
    :param fault: the rule by which something was made to go wrong; None for nothing.
    :param error_type: what went wrong, as clients see it.
    :param outcome: what became of it; None until its end.
    :param span_trace: the trace in which it has a span, if it has one.
    """

    route: str
    number: int = 0
    rank: int = 0
    base: str = ""
    arrived: float = 0.0
    began: float = 0.0
    http: HttpFacts | None = None
    tenant: str | None = None
    answer_id: str = ""
    request_id: str = ""
    asked: str | None = None
    model: str = ""
    stream: bool = False
    prompts: int = 0
    priority: int = 0
    sampling: Sampling | None = None
    waiting: int = 0
    running: int = 0
    queued: float | None = None
    started: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    finished: float | None = None
    planned_first_token: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    choices: dict[int, tuple[int, FinishReason | None]] = field(factory=dict)
    aborted: bool = False
    refusals: int = 0
    preemptions: int = 0
    fault: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    outcome: Outcome | None = None
    span_trace: str | None = None
    _verdict: Outcome | None = field(init=False, default=None)
    """What an error makes of it."""

    @property
    def used(self) -> int:
        """How many tokens were computed for it, of prompts and answers."""
        return 0 if self.started is None else self.prompt_tokens + self.generated_tokens

    @property
    def adapter(self) -> str | None:
        """The adapter that answers, if one does."""
        return self.model if self.model not in {"", self.base} else None

    @property
    def trace_id(self) -> str | None:
        """The trace that it is part of, in hexadecimal digits: its client's, or one that began here."""
        return self.span_trace or (None if self.http is None else self.http.trace_id)

    @property
    def state(self) -> State:
        """Where the request is."""
        if self.outcome is not None:
            return "done"
        if self.running:
            return "running"
        if self.waiting:
            return "waiting"
        if self.queued is None:
            return "reading"
        if self.sampling is None:
            # It pools, and its inputs are no sequences.
            return "waiting" if self.started is None else "running"
        return "sending"

    def goes_by(self, name: str) -> bool:
        """Tell whether an id means this request: its answer's, with or without its prefix, or the engine's."""
        if not name or name in {self.answer_id, self.request_id}:
            return bool(name)
        answer_id = name.rpartition("-")[0]
        if answer_id != self.answer_id or not answer_id.startswith(_NUMBERED):
            return False
        return name in self.engine_ids

    @property
    def engine_ids(self) -> list[str]:
        """What vLLM's engine calls its prompts: by the answer's id, and of completions with a number behind it."""
        if not self.answer_id.startswith(_NUMBERED):
            return [self.answer_id] if self.answer_id else []
        return [f"{self.answer_id}-{number}" for number in range(min(self.prompts, MOST_CHOICES))]

    # What delivery tells

    def asks(self, asked: str | None, model: str, answer_id: str, request_id: str) -> None:
        """Learn which model is asked, which answers, and what the answer is called."""
        self.asked = None if asked is None else asked[:_LONGEST_NAME]
        self.model, self.answer_id, self.request_id = model, answer_id[:_LONGEST_NAME], request_id[:_LONGEST_NAME]

    def generates(self, request: InferenceRequest, *, stream: bool) -> None:
        """Learn what is to be generated.

        :param stream: whether the answer is streamed.
        """
        self.asks(request.asked, request.model, request.answer_id, request.request_id)
        self.stream, self.prompts, self.priority = stream, len(request.prompts), request.priority
        sampling = request.sampling
        if sampling.stop or sampling.stop_token_ids or sampling.logit_bias or sampling.allowed_token_ids:
            sampling = _without_long_lists(sampling)
        self.sampling = sampling

    def fails(self, error: InferenceError) -> None:
        """Learn what its client is told of what went wrong."""
        self.error_type, self.error_message = error.kind, error.message[:_LONGEST_MESSAGE]
        if isinstance(error, UnknownModel) and self.asked is None and error.model is not None:
            self.asked = error.model[:_LONGEST_NAME]
        if isinstance(error, _REFUSALS) and self.queued is None:
            self._verdict = "refused"
        else:
            self._verdict = "failed" if error.status >= _FIRST_SERVER_FAULT else "invalid"

    def ends(self, now: float, cause: Outcome | None = None) -> None:
        """Come to the end.

        :param cause: what has brought it about, if it is not that everything was done.
        """
        self.finished = now
        if self.fault is not None:
            self.outcome = "injected"
        elif self._verdict is not None:
            self.outcome = "aborted" if self.aborted and self._verdict == "failed" else self._verdict
        elif cause is not None:
            self.outcome = cause
        elif self.aborted:
            self.outcome = "aborted"
        else:
            self.outcome = "refused" if self.refusals and not self.generated_tokens else "completed"

    # What scheduling tells

    def sequence_queued(self, now: float) -> None:
        """A sequence begins to wait."""
        self.waiting += 1
        if self.queued is None:
            self.queued = now

    def sequence_unqueued(self) -> None:
        """A sequence has left the queue without getting a slot."""
        self.waiting -= 1

    def sequence_started(self, now: float, cached: int) -> None:
        """A sequence has left the queue for a slot.

        :param cached: how many tokens of its prompt are not computed here; none if another choice of the prompt tells.
        """
        self.waiting -= 1
        self.running += 1
        self.cached_tokens += cached
        if self.started is None:
            self.started = now

    def sequence_preempted(self) -> None:
        """A sequence has lost its slot to others, and waits again."""
        self.preemptions += 1
        self.waiting += 1
        self.running -= 1

    def sequence_resumed(self) -> None:
        """It has one again."""
        self.waiting -= 1
        self.running += 1

    def prefill_planned(self, seconds: float) -> None:
        """It is settled how long a prompt takes."""
        if self.planned_first_token is None:
            self.planned_first_token = seconds

    def sequence_left(self, last_token: float | None) -> None:
        """A sequence has left its slot.

        :param last_token: when its last token was out; None if none was.
        """
        self.running -= 1
        if last_token is not None:
            self.last_token = last_token

    def choice_ended(self, choice: int, tokens: int, reason: FinishReason | None) -> None:
        """A choice has all tokens that it will have.

        :param tokens: how many were delivered.
        :param reason: why the last is the last; None if there would have been more.
        """
        self.generated_tokens += tokens
        if reason == "cache_threshold":
            self.refusals += 1
        elif reason == "abort":
            self.aborted = True
        if choice < MOST_CHOICES:
            self.choices[choice] = (tokens, reason)


def _without_long_lists(sampling: Sampling) -> Sampling:
    """Leave out what is long: a client may send a million ids."""
    allowed = sampling.allowed_token_ids
    return evolve(
        sampling,
        stop=tuple(stop[:_LONGEST_ITEM] for stop in sampling.stop[:_MOST_ITEMS]),
        stop_token_ids=sampling.stop_token_ids[:_MOST_ITEMS],
        logit_bias=sampling.logit_bias[:_MOST_ITEMS],
        allowed_token_ids=None if allowed is None else allowed[:_MOST_ITEMS],
    )
