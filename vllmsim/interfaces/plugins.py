# -*- test-case-name: tests.test_interfaces -*-
"""What others may add to the program, and what the program gives to what they add.

A plugin is an object in a module of the package ``vllmsim.plugins`` that provides :class:`twisted.plugin.IPlugin` and
one of the factories here. Factories are small: they have a name, say what they are for, and make the real thing when a
configuration names them. Everything here is public: what is there keeps its meaning, and a release that must change it
says so among its removals. :class:`Surroundings` may get more attributes at any time, so nobody but the program makes
them without names.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

from vllmsim.interfaces.answers import ILatencyModel, IResponseSource, ITokenizer
from vllmsim.interfaces.blocks import IBlockEventOutlet
from vllmsim.interfaces.faults import IFailure
from vllmsim.interfaces.middleware import IMiddleware
from vllmsim.interfaces.steps import IStepTime


@frozen(kw_only=True, eq=False)
class Surroundings:
    """What a plugin finds where it is made.

    :param options: its own options, as the configuration gives them: what YAML and JSON can say. An option that
        `create` has not looked at is told to the user as a mistake.
    :param generator: randomness of its own, seeded, so that a server with the same seed does the same. When a scenario
        begins the server's randomness anew, this begins anew too where there is one plugin for each rank.
    :param clock: tells the time, in seconds from any beginning, and calls later.
    :param defer_to_thread: runs a function with its arguments in a thread of the program's own, and gives its result.
    :param rank: the data-parallel rank that it is for, from 0; of what all ranks of a process share, the first of them.
    :param model: the name that answers carry when a request names no adapter.
    """

    options: Mapping[str, Any]
    generator: random.Random
    clock: IReactorTime
    defer_to_thread: Callable[..., Deferred[Any]]
    rank: int
    model: str


@frozen(kw_only=True, eq=False)
class SourceSurroundings(Surroundings):
    """What a response source finds.

    :param tokenizer: makes tokens of what it says.
    :param usual: says sentences, for when there is nothing better to say.
    """

    tokenizer: ITokenizer
    usual: IResponseSource


@frozen(kw_only=True, eq=False)
class LatencySurroundings(Surroundings):
    """What a latency model finds.

    :param usual: takes the time that the options for latencies say.
    """

    usual: ILatencyModel


@frozen(kw_only=True, eq=False)
class StepTimeSurroundings(Surroundings):
    """What a step time finds.

    :param usual: takes the time that the options for step times say.
    """

    usual: IStepTime


@frozen(kw_only=True, eq=False)
class TokenizerSurroundings(Surroundings):
    """What a tokenizer finds.

    :param usual: cuts at words, and makes plain text of conversations.
    """

    usual: ITokenizer


@frozen(kw_only=True, eq=False)
class EventSurroundings(Surroundings):
    """What a publisher of KV events finds.

    :param topic: what subscribers of this rank's events ask for: ``kv-events-topic`` with all names filled in, or the
        topic of ``kv-events-config``.
    """

    topic: str


class IFactory(Interface):
    """What all plugins have."""

    name = Attribute("str: what configurations call it: letters, digits, ``-``, ``_`` and ``.``; first a letter.")
    help = Attribute("str: what it is for, on one line.")


class IResponseSourceFactory(IFactory):
    """Adds a way to answer, for the option ``mode``. One is made for all ranks of a process."""

    def create(surroundings: SourceSurroundings) -> IResponseSource:
        """Make one.

        :raises ValueError: with one sentence for the user, when the options will not do.
        """


class ILatencyModelFactory(IFactory):
    """Adds a way to take time, for the option ``latency-calculator``.

    One is made for each rank, and another whenever an option that has to do with latencies changes; requests that have
    come before keep the former.
    """

    def create(surroundings: LatencySurroundings) -> ILatencyModel:
        """Make one.

        :raises ValueError: with one sentence for the user, when the options will not do.
        """


class IStepTimeFactory(IFactory):
    """Adds a way to say how long an engine step takes, for the option ``step-time``.

    One is made for each rank, and another whenever an option that has to do with step times changes.
    """

    def create(surroundings: StepTimeSurroundings) -> IStepTime:
        """Make one.

        :raises ValueError: with one sentence for the user, when the options will not do.
        """


class ITokenizerFactory(IFactory):
    """Adds a way to cut texts, for the option ``tokenizer``, which names it as ``plugin:NAME``.

    One is made for all ranks of a process.
    """

    def create(surroundings: TokenizerSurroundings) -> ITokenizer:
        """Make one.

        :raises ValueError: with one sentence for the user, when the options will not do.
        """


class IFailureFactory(IFactory):
    """Adds a way to fail on purpose, for the option ``failure-plugins``.

    One is made for each rank, and another whenever its options change.
    """

    def create(surroundings: Surroundings) -> IFailure:
        """Make one.

        :raises ValueError: with one sentence for the user, when the options will not do.
        """


class IBlockEventPublisherFactory(IFactory):
    """Adds a place where KV events go, for the option ``kv-events-publisher``. One is made for each rank."""

    def create(surroundings: EventSurroundings) -> IBlockEventOutlet:
        """Make one. It is opened later, in the process that stays.

        :raises ValueError: with one sentence for the user, when the options will not do.
        """


class IMiddlewareFactory(IFactory):
    """Adds something that sees requests before their routes do, for the option ``middleware``.

    One is made for each rank, and another whenever its options change; requests that have come before keep the former.
    """

    def create(surroundings: Surroundings) -> IMiddleware:
        """Make one.

        :param surroundings: its options are those that are beside its name in the option ``middleware``.
        :raises ValueError: with one sentence for the user, when the options will not do.
        """
