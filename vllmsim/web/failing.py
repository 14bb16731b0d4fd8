# -*- test-case-name: tests.web.test_failing -*-
"""How requests are made to fail: when their bodies are read, and before anything is said of their models."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

from attrs import define, evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from vllmsim.api.body import Head
from vllmsim.api.naming import Named, Names, named_in_json
from vllmsim.api.responses.dialect import ResponseCall
from vllmsim.errors import InferenceError, MalformedRequest, UnknownModel
from vllmsim.faults import Facts, Fault
from vllmsim.inference import InferenceRequest
from vllmsim.interfaces import IFailure, IModelCatalogue
from vllmsim.pooling import PoolingRequest
from vllmsim.web.reading import read_body
from vllmsim.web.request import Request

R = TypeVar("R")
A = TypeVar("A", InferenceRequest, PoolingRequest)

HEADER: Final = b"x-return-error"
"""The header with which requests ask for an error."""
_BEARER: Final = "bearer "


@frozen(eq=False)
class _Read(Generic[R]):
    """A body that has the form that it must have.

    :param named: what it says of itself.
    :param result: what its dialect has made of it; None if it refuses it.
    :param refusal: why it does.
    """

    named: Named
    result: R | None = None
    refusal: InferenceError | None = None


def _read(parse: Callable[[bytes, Head], R], names: Names, body: bytes, head: Head) -> _Read[R]:
    """Have a dialect read a body, and keep what it refuses it for.

    :raises MalformedRequest: when it has not the form that it must have.
    """
    try:
        result = parse(body, head)
    except MalformedRequest:
        raise
    except InferenceError as error:
        return _Read(names(body, head), refusal=error)
    return _Read(names(body, head), result)


@define(eq=False)
class Failing:
    """Reads requests, and has those fail that are to.

    :param failure: decides which these are.
    :param models: knows which of the names that requests say are adapters.
    :param defer_to_thread: runs a function off the reactor; large bodies are read there.
    """

    _clock: IReactorTime
    _failure: IFailure
    _models: IModelCatalogue
    _defer_to_thread: Callable[..., Deferred[Any]]

    def read(self, parse: Callable[[bytes, Head], R], request: Request, names: Names = named_in_json) -> Awaitable[R]:
        """Read a request as :func:`vllmsim.web.reading.read_body` does, and settle what is to go wrong with its answer.

        :param names: tells what the body says of itself, as far as failures are chosen by that.
        :return: awaiting it raises :class:`vllmsim.errors.InferenceError` when the request is wrong, or fails on
            purpose.
        """
        if self._failure.active or request.getHeader(HEADER) is not None:
            return self._consider(parse, request, names)
        return read_body(parse, request, self._defer_to_thread)

    async def _consider(self, parse: Callable[[bytes, Head], R], request: Request, names: Names) -> R:
        decide = self._failure.consider()
        reading: _Read[R] = await read_body(partial(_read, parse, names), request, self._defer_to_thread)
        fault = decide(self._facts(request, reading))
        if fault is not None:
            request.fault = fault
            if request.record is not None:
                request.record.fault = fault.name
            await self._refuse(request, fault)
        if reading.refusal is not None:
            raise reading.refusal
        assert reading.result is not None
        return reading.result

    async def _refuse(self, request: Request, fault: Fault) -> None:
        """Give a request no answer, if that is its fault."""
        if fault.delay:
            await deferLater(self._clock, fault.delay)
        if fault.reset:
            request.hang_up(reset=True)
            raise CancelledError
        if fault.refusal is not None:
            for name, value in fault.headers.items():
                request.setHeader(name, value)
            raise fault.refusal

    def _facts(self, request: Request, reading: _Read[Any]) -> Facts:
        named = reading.named.model
        base = self._models.resolve(None)
        try:
            served = self._models.resolve(named)
        except UnknownModel:
            served = None
        return Facts(
            request.route,
            tuple(name for name in (named, served) if name is not None),
            served if served != base else None,
            request.header,
            _api_key(request),
            streamed=reading.named.streamed,
            answerable=reading.refusal is None,
            tenant=request.tenant,
            sent=not isinstance(reading.result, ResponseCall) or reading.result.background is None,
        )


def disturbed(asked: A, fault: Fault | None) -> A:
    """Have a request take the time that its fault wants."""
    disturbance = None if fault is None else fault.disturbance
    return asked if disturbance is None else evolve(asked, disturbance=disturbance)


def _api_key(request: Request) -> str | None:
    """Find the key that a request was sent with, as clients of OpenAI send it or as those of Anthropic do."""
    told = request.header("authorization") or ""
    if told[: len(_BEARER)].lower() == _BEARER:
        return told[len(_BEARER) :].strip()
    return request.header("x-api-key")
