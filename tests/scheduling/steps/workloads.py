"""Workloads for an engine in steps: what an operator has chosen, who comes when, and what becomes of them."""

from attrs import frozen
from hypothesis import strategies as st

from tests.scheduling.steps.reference_blocks import Rules


@frozen
class Arrival:
    """A sequence that comes, perhaps with others of the same prompt.

    :param step: before which step.
    :param answer: how many tokens it says.
    :param begins: with which token that begins.
    :param copies: how many there are.
    :param priority: lower comes first.
    :param owner: the adapter, or nothing.
    :param reads: whether blocks that others have computed may be used.
    :param ready: how many steps later its answer is known.
    :param leaves: how many steps later it goes, if it still is there; None if it stays to its end.
    :param abruptly: whether it goes while the step is computed, and not before.
    :param luck: how many of the tokens that are guessed for it are right, over and over again.
    """

    step: int
    prompt: tuple[int, ...]
    answer: int
    begins: int = 0
    copies: int = 1
    priority: int = 0
    owner: str = ""
    salt: str = ""
    reads: bool = True
    ready: int = 0
    leaves: int | None = None
    abruptly: bool = False
    luck: tuple[int, ...] = (0,)


@frozen
class Workload:
    """What happens.

    :param arrivals: in the order in which they come.
    :param resets: at which steps all that blocks hold is forgotten, whether those that run are thrown out for that, and
        whether it is while the step is computed, and not before.
    """

    rules: Rules
    arrivals: tuple[Arrival, ...]
    resets: tuple[tuple[int, bool, bool], ...] = ()


_PARTS = ((1,), (2,), (1, 2), (1, 1, 1), (2, 1, 2, 1), (3, 1, 2, 3, 1, 2))
"""What prompts are made of, so that many begin alike."""


@st.composite
def _rules(draw: st.DrawFn, plain: bool) -> Rules:
    size = draw(st.sampled_from((2, 1, 3, 4)))
    longest = draw(st.integers(8, 24))
    # The longest sequence fits, or the server would not start.
    blocks = 1 + -(-longest // size) + draw(st.sampled_from((0, 0, 1, 2, 4, 8)))
    priority = draw(st.booleans())
    if plain:
        return Rules(batched=24, seats=8, blocks=blocks, size=size, longest=longest, priority=priority)
    chunked = draw(st.sampled_from((True, True, True, False)))
    batched = draw(st.sampled_from((16, 24, 12, 8, 3, 1)) if chunked else st.integers(longest, longest + 8))
    scheduled = draw(st.integers(1, batched)) if chunked and draw(st.integers(0, 4)) == 4 else None
    guesses = draw(st.sampled_from((0, 0, 0, 1, 3)))
    # One that comes must find room for as much as others verify, or it waits for ever.
    spare = min(batched if scheduled is None else scheduled, batched if chunked else batched - longest) - 1 - guesses
    places = draw(st.sampled_from((0, 1, 2))) if guesses else 0
    fits = spare >= places
    return Rules(
        batched=batched,
        seats=draw(st.sampled_from((3, 8, 5, 4, 2, 1))),
        blocks=blocks,
        size=size,
        longest=longest,
        scheduled=scheduled,
        threshold=draw(st.sampled_from((0, 0, 0, 1, 2, 5))),
        adaptive=draw(st.booleans()),
        chunked=chunked,
        whole=draw(st.sampled_from((True, True, False))),
        watermark=draw(st.sampled_from((0, 0, 0.1, 0.4, 0.9))),
        priority=priority,
        adapters=draw(st.integers(1, 2)),
        caching=draw(st.sampled_from((True, True, True, True, False))),
        guesses=guesses,
        ahead=draw(st.sampled_from((0, guesses))),
        drops=bool(guesses) and draw(st.booleans()),
        places=places if fits else 0,
        even=fits and draw(st.booleans()),
    )


@st.composite
def _arrivals(draw: st.DrawFn, step: int, room: int, plain: bool) -> Arrival:
    """Draw who comes, with less than `room` tokens of its own."""
    parts = draw(st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4))
    prompt = tuple(token for part in parts for token in part)[: room - 1]
    answer = min(room - len(prompt), draw(st.sampled_from((24, 9, 24, 5, 2, 1))))
    begins, priority = draw(st.integers(0, 2)), draw(st.integers(-1, 1))
    if plain:
        return Arrival(step, prompt, answer, begins, priority=priority)
    return Arrival(
        step,
        prompt,
        answer,
        begins,
        copies=draw(st.sampled_from((1, 1, 1, 1, 3))),
        priority=priority,
        owner=draw(st.sampled_from(("", "x", "", "y", "z"))),
        salt=draw(st.sampled_from(("", "", "", "s"))),
        reads=draw(st.sampled_from((True, True, True, False))),
        ready=draw(st.sampled_from((0, 0, 0, 0, 1, 4))),
        leaves=draw(st.sampled_from((None, None, None, None, 6, 1, 0))),
        abruptly=draw(st.booleans()),
        luck=tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))),
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Draw what happens: half of the time so many sequences for so few blocks that little else matters."""
    plain = draw(st.booleans())
    rules = draw(_rules(plain))
    arrivals = []
    step = 0
    for _ in range(draw(st.sampled_from((8, 12, 10, 6, 4, 1)))):
        step += draw(st.sampled_from((0, 0, 0, 1, 1, 3)))
        arrivals.append(draw(_arrivals(step, rules.longest, plain)))
    resets = () if plain else draw(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans()), max_size=2))
    return Workload(rules, tuple(arrivals), tuple(resets))
