# -*- test-case-name: tests.test_interfaces -*-
"""KV blocks: who has them, who hears of them, and who keeps them outside."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from vllmsim.blockevents import BlockPicture, EventBatch
from vllmsim.inference import Adapter, HashedPrompt, InferenceRequest, StoredBlocks, TokenizedPrompt


class IPrefixCache(Interface):
    """The blocks of one rank's KV cache, seen by those who do not fill them."""

    capacity = Attribute("int or None: the most tokens that it holds; None for any number.")
    running = Attribute("int: how many sequences have blocks, and run.")
    usage = Attribute("float: the share of blocks that sequences have, from 0 to 1.")
    blocks = Attribute("tuple of int: how many blocks sequences have, and how many go by a hash.")

    def hash(prompt: TokenizedPrompt, request: InferenceRequest) -> Awaitable[HashedPrompt]:
        """Hash a prompt's full blocks, and find out how many of them a cache outside has.

        Other events are let in while a long prompt is hashed.
        """

    def reset(running: bool) -> bool:
        """Forget what blocks hold.

        :param running: do so even when sequences have blocks; what they have computed is known again at once, as if
            they had been preempted and had computed it anew. Where there are steps, they are preempted.
        :return: whether it is forgotten.
        """

    def forget(adapter: Adapter) -> None:
        """Learn that an adapter is served no more: its blocks are the first that others get."""

    def occupy(share: float) -> float:
        """Have a share of the blocks used by nobody, until another is named.

        What is free is used at once, and the rest as sequences give blocks back, before those that wait get any. What
        the blocks hold is forgotten.

        :param share: from 0 to 1.
        :return: the same, or less where a sequence of the longest possible prompt and answer would find no room then. 0
            where there are no blocks.
        """


class IKVCache(IPrefixCache):
    """The blocks of one rank's KV cache, seen by those who fill them sequence by sequence."""

    def allocate(
        prompt: HashedPrompt, answer: Sequence[int], reads: bool, remote_tokens: int
    ) -> "Deferred[ISequenceBlocks]":
        """Take the blocks of a prompt: those that have its prefix already, and others.

        :param answer: the ids of all tokens that will be generated.
        :param reads: whether blocks that have its prefix may be used.
        :param remote_tokens: how many tokens of the prompt are fetched from the server that ran its prefill.
        :return: fires when there is room for the prompt and the whole answer; who asks first is first. Cancelling
            gives the turn up. With prompt and answer longer than `capacity` it would never fire.
        """


class ISequenceBlocks(Interface):
    """The KV blocks of one sequence."""

    prefill = Attribute("Prefill: where the prompt's tokens come from.")

    def grow(tokens: int) -> None:
        """Learn how many tokens of prompt and answer are computed, and take the blocks that these need.

        :param tokens: at least as many as before.
        """

    def release() -> None:
        """Give the blocks back; they keep what they hold until others need them. Harmless when it is done."""


class IBlockListener(Interface):
    """Hears what happens to the blocks of a KV cache, in order. No method may raise."""

    def stored(blocks: StoredBlocks) -> None:
        """Blocks became full and can be found by their hashes.

        Several blocks may have the same hash; each is told.
        """

    def removed(digest: bytes) -> None:
        """A block with this hash was given to another sequence."""

    def cleared() -> None:
        """No block can be found any more."""


class IBlockEventPublisher(Interface):
    """Takes batches of KV events, written and numbered, in order. Called on the reactor thread."""

    def publish(sequence: int, payload: bytes, events: int) -> None:
        """Take a batch. Must neither raise nor wait.

        :param sequence: its number, from 0 and without gaps.
        :param payload: what subscribers get, after topic and number.
        :param events: how many events are in it.
        """


class IBlockEventOutlet(IBlockEventPublisher):
    """Where one rank's KV events leave the process. Batches that come while it is closed go nowhere."""

    def open() -> None:
        """Open it. Called on the reactor thread, in the process that stays; not at all when the server does not start.

        :raises OSError: when that is not possible, which ends the program; its ``filename`` says what cannot be opened,
            and its ``strerror`` why.
        """

    def describe() -> Mapping[str, object]:
        """Tell who subscribes where it is.

        :return: what JSON can say, for ``/kv_event_sources``: ``endpoint`` and others.
        """

    def close() -> Awaitable[None]:
        """Close it, when what is on its way has left or has had its time. Harmless when it is closed."""


class IBlockEventLog(Interface):
    """The batches of KV events of one rank, numbered from 0 and without gaps, for readers in this process.

    A reader remembers the number of the batch that it wants next. From `begin` to before `end` batches can be read; who
    wants an older one has lost some.
    """

    rank = Attribute("int: the rank's number.")
    block_size = Attribute("int: tokens per block.")
    begin = Attribute("int: the number of the oldest batch that is kept; `end` if there is none.")
    end = Attribute("int: the number of the next batch.")
    closed = Attribute("bool: whether there will be no more batches.")

    def epoch() -> float:
        """Tell seconds since the epoch, as batches do."""

    def watch(told: Callable[[], object]) -> Callable[[], None]:
        """Have somebody told when there is another batch, or when there will be no more.

        Batches are kept, and numbered one by one, from the first time on that anybody watches: before that, `begin` and
        `end` mean nothing, and nothing is done.

        :param told: must neither raise nor wait.
        :return: has nobody told any more. Harmless when that is done.
        """

    def read(sequence: int) -> EventBatch:
        """Find a batch.

        :param sequence: its number.
        """

    def picture() -> BlockPicture:
        """Tell which blocks there are behind a batch: the last as a rule. The one that follows is kept, or comes."""


class IBlockStore(Interface):
    """A cache of KV blocks outside this server, which several servers share. Of blocks it knows the hashes alone.

    Nothing here fails: a store that cannot be reached has nothing and keeps nothing, and says so in the log once.
    """

    def start() -> None:
        """Begin to reach for it. Nobody waits until it is there."""

    def stop() -> Deferred[None]:
        """Leave it.

        :return: fires when no connection and no timer is left.
        """

    def lookup(hashes: Sequence[bytes]) -> Awaitable[int | None]:
        """Find out how many leading blocks it has, and have it keep them for longer.

        :param hashes: those of a sequence's blocks, in their order.
        :return: how many; None when it could not be asked, or did not answer in time. Awaiting it takes a bounded time,
            and none at all while the store cannot be reached.
        """

    def store(hashes: Sequence[bytes]) -> None:
        """Have it keep blocks. They are on their way at once; what is too much for it is dropped, and counted."""

    def clear() -> Deferred[bool]:
        """Have it forget the blocks of all servers that share them.

        :return: fires with whether it has.
        """
