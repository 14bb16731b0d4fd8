# -*- test-case-name: tests.kvcache.events.test_replay -*-
"""Batches of KV events once more, for subscribers that missed some.

A subscriber asks with the number of the first batch that it wants, as eight bytes, the most significant one first. A
DEALER sends them behind an empty frame; a REQ socket sends that frame by itself. Each batch that is kept and has this
number or a later one is an answer of its own, in the frames of the live stream behind an empty one::

    asked:     "" | number
    answered:  "" | topic | number | payload        for each batch
               "" | ""    | ff ff ff ff ff ff ff ff | ""        behind the last

What is published after the question is not in the answer: that comes in the live stream. Where the first answers have
later numbers than was asked for, the others are lost, and numbers tell so. Several questions of one subscriber are
answered one after the other.

Whoever does not read holds up nobody: answers go out in slices, a few for each subscriber at a time, and of one whose
queue is full only the place is kept where to go on. When the window has moved beyond that place meanwhile, it goes on
with the oldest batch there is. Who takes nothing for a minute is forgotten.
"""

import math
import struct
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import ClassVar, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from vllmsim.kvcache.events.window import ReplayWindow

MOST_PEERS: Final = 64
"""Subscribers that are answered at the same time, at most; for another one, who takes nothing for longest must go."""
STUCK: Final = 1.0
"""Seconds without taking anything that are long enough for that; if nobody is so slow, the other one is not heard."""
MOST_QUESTIONS: Final = 8
"""Questions of one subscriber that wait, at most."""
SLICE: Final = 64
"""Answers in one turn of the reactor, at most."""
SLICE_BYTES: Final = 1 << 18
"""Bytes behind which a turn ends, too."""
SLICE_SECONDS: Final = 0.001
"""Time after which a turn ends, too."""
PAUSE: Final = 0.001
"""Seconds from one slice to the next."""
LONGEST_PAUSE: Final = 0.1
"""Seconds from one attempt to the next with a subscriber whose queue has been full for long."""
PATIENCE: Final = 60.0
"""Seconds for which a subscriber may take nothing."""
_NUMBER: Final = struct.Struct(">Q")
_END: Final = (b"", b"\xff" * 8, b"")


class PeerGone(Exception):
    """Whoever asked is connected no more."""


def _to_nobody(_: Sequence[bytes]) -> bool:
    raise PeerGone


@define(eq=False)
class _Peer:
    """Somebody who asked.

    :param identity: the socket's name for it.
    :param questions: for each question the next batch to send and the one to end before; the first is being answered.
    :param due: when to go on.
    :param heard: when it last took something.
    """

    identity: bytes
    questions: deque[tuple[int, int]]
    due: float
    heard: float
    pause: float = field(init=False, default=PAUSE)


@define(eq=False)
class Replay:
    """Answers those who ask for batches once more.

    :param topic: of the live stream.
    :param offer: sends a message, its first frame the receiver's identity; tells whether the receiver's queue had room
        for it, and raises :class:`PeerGone`.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _window: ReplayWindow
    _topic: bytes
    offer: Callable[[Sequence[bytes]], bool] = _to_nobody
    _peers: dict[bytes, _Peer] = field(init=False, factory=dict)
    """Who is being answered, the one that had its turn last at the end."""
    _call: IDelayedCall | None = field(init=False, default=None)
    _rested: float = field(init=False, default=-math.inf)
    """Before when no turn begins, so that others have theirs."""
    ignored: int = field(init=False, default=0)
    """How many messages were no questions, or one too many."""
    given_up: int = field(init=False, default=0)
    """How many subscribers took nothing for too long."""

    @property
    def peers(self) -> int:
        """How many are being answered."""
        return len(self._peers)

    def asked(self, frames: Sequence[bytes]) -> None:
        """Take a message.

        :param frames: as they came, the sender's identity first; four are enough of a longer message.
        """
        if len(frames) != 3 or frames[1] or len(frames[2]) < _NUMBER.size:  # noqa: PLR2004 - see above
            self.ignored += 1
            return
        identity, (start,) = frames[0], _NUMBER.unpack_from(frames[2])
        peer = self._peers.get(identity)
        if peer is None:
            now = self._clock.seconds()
            if len(self._peers) >= MOST_PEERS and not self._make_room(now):
                self.ignored += 1
                return
            peer = self._peers[identity] = _Peer(identity, deque(), now, now)
        elif len(peer.questions) >= MOST_QUESTIONS:
            self.ignored += 1
            return
        peer.questions.append((start, self._window.end))
        due = max(peer.due, self._rested)
        if self._call is None or self._call.getTime() > due:
            self._rest(due)

    def stop(self) -> None:
        """Answer nobody any more."""
        self._peers.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _make_room(self, now: float) -> bool:
        """Give up the subscriber that has taken nothing for longest, if that is long."""
        slowest = min(self._peers.values(), key=attrgetter("heard"))
        if now - slowest.heard < STUCK:
            return False
        self._give_up(slowest)
        return True

    def _give_up(self, peer: _Peer) -> None:
        self.given_up += 1
        if self.given_up == 1:
            text = (
                "A subscriber that asked for KV events once more does not read them; of further ones nothing is said."
            )
            self._log.warn(text)
        del self._peers[peer.identity]

    def _rest(self, until: float) -> None:
        """Have the next turn begin then, and at no other time."""
        now = self._clock.seconds()
        if self._call is not None:
            self._call.cancel()
        self._call = self._clock.callLater(max(0.0, until - now), self._turn)

    def _turn(self) -> None:
        """Send a slice to those whose turn it is; who had to wait longest is first."""
        self._call = None
        begun = self._clock.seconds()
        due = [peer for peer in self._peers.values() if peer.due <= begun]
        room, room_bytes = SLICE, SLICE_BYTES
        for number, peer in enumerate(due):
            share = max(1, room // (len(due) - number))
            sent, sent_bytes = self._serve(peer, share, room_bytes // (len(due) - number), begun)
            room -= sent
            room_bytes -= sent_bytes
            if room <= 0 or room_bytes <= 0 or self._clock.seconds() - begun > SLICE_SECONDS:
                break
        self._rested = self._clock.seconds() + PAUSE
        if self._peers:
            self._rest(max(self._rested, min(peer.due for peer in self._peers.values())))

    def _serve(self, peer: _Peer, most: int, most_bytes: int, now: float) -> tuple[int, int]:
        """Send one subscriber its share.

        :return: how many answers it took, and how many bytes.
        """
        # Others come first the next time.
        self._peers[peer.identity] = self._peers.pop(peer.identity)
        sent = sent_bytes = 0
        try:
            while peer.questions and sent < most and (sent_bytes < most_bytes or not sent):
                answer = self._next(peer)
                if not self.offer((peer.identity, b"", *answer)):
                    self._wait(peer, now, took=sent > 0)
                    return sent, sent_bytes
                self._advance(peer)
                sent += 1
                sent_bytes += len(answer[-1])
        except PeerGone:
            peer.questions.clear()
        if peer.questions:
            self._wait(peer, now, took=True)
        else:
            del self._peers[peer.identity]
        return sent, sent_bytes

    def _next(self, peer: _Peer) -> tuple[bytes, bytes, bytes]:
        """Make the next answer, of the oldest batch there is if the one whose turn it is was lost meanwhile."""
        start, end = peer.questions[0]
        start = max(start, self._window.begin)
        peer.questions[0] = start, end
        if start >= end:
            return _END
        return self._topic, _NUMBER.pack(start), self._window.payload(start)

    def _advance(self, peer: _Peer) -> None:
        start, end = peer.questions[0]
        if start >= end:
            peer.questions.popleft()
        else:
            peer.questions[0] = start + 1, end

    def _wait(self, peer: _Peer, now: float, *, took: bool) -> None:
        """Go on with a subscriber later: the later, the longer its queue has been full."""
        if took:
            peer.heard, peer.pause = now, PAUSE
        else:
            peer.pause = min(LONGEST_PAUSE, 2 * peer.pause)
            if now - peer.heard >= PATIENCE:
                self._give_up(peer)
                return
        peer.due = now + peer.pause
