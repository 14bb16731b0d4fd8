"""A rank without a KV cache."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import request_for
from vllmsim.inference import HashedPrompt, Prefill, TextPrompt, TokenizedPrompt
from vllmsim.interfaces import IKVCache, ISequenceBlocks
from vllmsim.kvcache.absent import NoCache


class NoCacheTests(SynchronousTestCase):
    """There is room for everyone, and nothing is found again."""

    def setUp(self) -> None:
        """Have no cache."""
        self.cache = NoCache()

    def test_provides(self) -> None:
        """It stands in the place of a cache."""
        verifyObject(IKVCache, self.cache)
        blocks = self.successResultOf(self.cache.allocate(HashedPrompt([1, 2]), [3], reads=True, remote_tokens=0))
        verifyObject(ISequenceBlocks, blocks)
        self.assertEqual(Prefill(2), blocks.prefill)

    def test_hash(self) -> None:
        """A prompt has no hashes."""
        prompt = TokenizedPrompt(TextPrompt("x"), "x", [1] * 100, ["x"] * 100)
        hashed = self.successResultOf(Deferred.fromCoroutine(self.cache.hash(prompt, request_for("x"))))
        self.assertEqual(((), prompt.ids), (hashed.hashes, hashed.ids))

    def test_fetched(self) -> None:
        """Tokens that another server has computed are not computed again, but for the last."""
        for remote, external in ((0, 0), (2, 2), (3, 2), (9, 2)):
            waiting = self.cache.allocate(HashedPrompt([1, 2, 3]), [4], reads=True, remote_tokens=remote)
            prefill = self.successResultOf(waiting).prefill
            self.assertEqual((external, 3 - external), (prefill.external, prefill.computed))

    def test_not_fetched(self) -> None:
        """Who may not read what others have computed has all of it computed."""
        waiting = self.cache.allocate(HashedPrompt([1, 2, 3]), [4], reads=False, remote_tokens=3)
        self.assertEqual(3, self.successResultOf(waiting).prefill.computed)

    def test_reset(self) -> None:
        """As with a cache it can be reset when no sequence runs, or when that does not matter."""
        self.assertTrue(self.cache.reset(running=False))
        blocks = self.successResultOf(self.cache.allocate(HashedPrompt([1]), [2], reads=True, remote_tokens=0))
        blocks.grow(2)
        self.assertEqual((False, True), (self.cache.reset(running=False), self.cache.reset(running=True)))
        blocks.release()
        blocks.release()
        self.assertTrue(self.cache.reset(running=False))

    def test_occupied(self) -> None:
        """There is nothing that nobody could use."""
        self.assertEqual(0, self.cache.occupy(0.5))
