# -*- test-case-name: tests.failures.test_injection -*-
"""What goes wrong with requests on purpose: the values that travel between who decides it and who does it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from vllmsim.errors import InferenceError
from vllmsim.inference import Disturbance

DamageKind: TypeAlias = Literal["cut", "truncate", "malformed", "done-missing", "done-twice"]

STATUSES: Final = range(200, 600)
"""The statuses that a response can have: those below are of no last response, and there are none above."""


@frozen(eq=False)
class Facts:
    """What is known of a request when it is decided whether it fails.

    :param route: the template of its path.
    :param models: the names of its model: the one that it says, and the one that its answer would carry.
    :param adapter: the LoRA adapter that it wants; None for none.
    :param header: looks a header up, whatever the case of its name; None for one that is not there.
    :param api_key: the key that it was sent with; None for none.
    :param streamed: whether it wants a stream.
    :param answerable: whether it may be answered at all; one that will be refused in any case cannot be answered badly.
    :param sent: whether its answer is sent to who asks: no bytes of one that is made in the background go wrong.
    :param tenant: whose client has sent it; None if that is not known.
    """

    route: str
    models: tuple[str, ...]
    adapter: str | None
    header: Callable[[str], str | None]
    api_key: str | None
    streamed: bool
    answerable: bool = True
    sent: bool = True
    tenant: str | None = None


@frozen
class Damage:
    """What goes wrong with the bytes of an answer.

    :param kind: ``cut`` closes the connection, ``truncate`` breaks a frame off in its middle, ``malformed`` makes one
        of it that is no JSON; the others leave the last frame out, or send it twice.
    :param after: how many tokens come whole before that; of an answer that is shorter, all.
    :param ends: whether a response that is broken off ends as if it were complete, and the connection stays.
    """

    kind: DamageKind
    after: int = 0
    ends: bool = False


@frozen(eq=False)
class Fault:
    """What goes wrong with one request.

    :param name: the rule, or the type of failure, that hit it.
    :param refusal: what it is told in the place of an answer.
    :param headers: what the response to a refusal has beside the usual headers.
    :param reset: whether its connection is reset in the place of an answer.
    :param delay: seconds before it is refused or reset.
    :param disturbance: what goes wrong with the answer's time.
    :param damage: what goes wrong with its bytes.
    """

    name: str
    refusal: InferenceError | None = None
    headers: Mapping[str, str] = field(factory=dict)
    reset: bool = False
    delay: float = 0.0
    disturbance: Disturbance | None = None
    damage: Damage | None = None


@frozen
class Tally:
    """How often something was to make requests fail.

    :param name: the rule's, or what it is instead.
    :param matched: how many requests it was asked about and meant.
    :param failed: how many of them failed.
    """

    name: str
    matched: int
    failed: int


@frozen
class FailureReport:
    """What has failed so far.

    :param rules: the rules in their order.
    :param chance: failures by chance.
    :param header: failures that requests asked for themselves.
    """

    rules: Sequence[Tally]
    chance: Tally
    header: Tally
