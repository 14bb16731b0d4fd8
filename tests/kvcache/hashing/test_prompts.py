"""Prompts as the KV cache knows them."""

import hashlib
from collections.abc import Sequence
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import TurningClock, request_for
from vllmsim.config.options.cache import HASH_ALGORITHMS
from vllmsim.inference import Adapter, HashedPrompt, InferenceRequest, Span, TokenizedPrompt, TokenPrompt
from vllmsim.kvcache.hashing.algorithms import BlockHash, Extra, block_hash
from vllmsim.kvcache.hashing.prompts import PromptHasher
from vllmsim.shifts import SHIFT, Shifts

ADAPTER = Adapter("ad1", "/p", "m", 1)
ADAPTERS = {"ad1": ADAPTER, "same": Adapter("same", "same", "m", 2)}
IDS = tuple(range(1, 41))


def tokenized(ids: Sequence[int], *media: Span) -> TokenizedPrompt:
    """Make a prompt of token ids."""
    return TokenizedPrompt(TokenPrompt(tuple(ids)), "", ids, [""] * len(ids), media)


@define(eq=False)
class SlowHash:
    """Takes its time for each block, and remembers what it is asked."""

    clock: Clock
    asked: list[tuple[bytes, tuple[int, ...], Extra]] = field(factory=list)

    def root(self, model: str) -> bytes:
        """Make the name of the model the first parent."""
        return model.encode()

    def block(self, parent: bytes, ids: tuple[int, ...], extra: Extra) -> bytes:
        """Count."""
        self.clock.rightNow += SHIFT / 10
        self.asked.append((parent, ids, extra))
        return b"%d" % len(self.asked)


def asked(model: str = "m", **more: Any) -> InferenceRequest:
    """Make a request, for an adapter if the model is one."""
    return evolve(request_for("x"), model=model, adapter=ADAPTERS.get(model), **more)


class HasherTestCase(SynchronousTestCase):
    """Tests that hash prompts."""

    def setUp(self) -> None:
        """Have an adapter beside the base model, and no timer left at the end."""
        self.clock = TurningClock()
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))

    def hasher(self, algorithm: BlockHash | None = None, size: int = 16) -> PromptHasher:
        """Make a hasher."""
        chosen = algorithm or block_hash("sha256", "", Random(1))
        return PromptHasher(chosen, size, "m", Shifts(self.clock))

    def hashed(self, ids: Sequence[int] = IDS, *media: Span, **more: Any) -> HashedPrompt:
        """Hash a prompt with vLLM's default algorithm."""
        request = asked(**more)
        prompt = self.successResultOf(Deferred.fromCoroutine(self.hasher().hash(tokenized(ids, *media), request)))
        assert isinstance(prompt, HashedPrompt)
        return prompt


class BlockTests(HasherTestCase):
    """What is hashed."""

    def test_full_blocks(self) -> None:
        """Full blocks have hashes, each with those before it, and what is left has none."""
        prompt = self.hashed()
        self.assertEqual(
            [
                "7b255da405e1d722823892e4fef187b4d8ac78215d7f0dd2137bb037547f4caf",
                "8e717becdc2054b7a3223b7b844f462c0db0ac86287b752b16d077ad0843c577",
            ],
            [each.hex() for each in prompt.hashes],
        )
        self.assertEqual(([None, None], None, IDS, 0), (prompt.keys, prompt.adapter, prompt.ids, prompt.shared))
        self.assertEqual([], self.hashed(IDS[:15]).hashes)

    def test_adapter_and_salt(self) -> None:
        """An adapter is hashed with every block, by name and path, a salt with the first; events tell no tags."""
        prompt = self.hashed(model="ad1", cache_salt="salty")
        self.assertEqual("ce290579fce6efb03d7b9b41491715873fae1b491bf69401b8ed76b2f1503a40", prompt.hashes[0].hex())
        self.assertEqual([("ad1", "salty"), ("ad1",)], prompt.keys)
        self.assertEqual((("lora", "ad1", "/p"),), prompt.tail)
        self.assertEqual(ADAPTER, prompt.adapter)

    def test_media(self) -> None:
        """Media are hashed with every block that has tokens of theirs, with their place in it; others are as ever."""
        prompt = self.hashed(IDS, Span("idA", 3, 5))
        self.assertEqual("e6813d73b6cf9ec32020587fae4bbc89fe5a96b2aadb0e5535a72e2d7c1e5ef4", prompt.hashes[0].hex())
        prompt = self.hashed(IDS, Span("c", 33, 3), Span("b", 31, 2), Span("a", 2, 29), cache_salt="s")
        self.assertEqual([(("a", 2), "s"), (("a", -14), ("b", 15))], prompt.keys)
        self.assertEqual((("mm", "b", -1), ("mm", "c", 1)), prompt.tail)
        self.assertEqual(self.hashed().hashes[0], self.hashed(IDS, Span("a", 16, 1)).hashes[0])
        self.assertEqual([None, (("a", 15),)], self.hashed(IDS, Span("a", 31, 1)).keys)

    def test_everything(self) -> None:
        """An adapter comes before media, and these before the salt, as in vLLM."""
        prompt = self.hashed(IDS[:16], Span("a", 0, 1), model="ad1", cache_salt="s")
        self.assertEqual([("ad1", ("a", 0), "s")], prompt.keys)

    def test_two_media(self) -> None:
        """Two media in a block are hashed as vLLM writes them: their tag once, equal texts of theirs twice."""
        root = hashlib.sha256(b"\x80\x05\x95\x12\0\0\0\0\0\0\0\x8c\x0evllm-none-hash\x94.").digest()
        self.assertEqual("066b1e8987e027138e98701c46128929378935f9b6cd1549105ae6b4f0d71198", root.hex())
        name = b"\x8c\x03idA\x94"
        body = b"C\x20" + root + b"\x94(" + b"".join(b"K%c" % each for each in IDS[:16]) + b"t\x94"
        body += b"\x8c\x02mm\x94" + name + b"K\x03\x87\x94" + b"h\x02" + name + b"K\x07\x87\x94" + b"\x86\x94\x87\x94."
        written = b"\x80\x05\x95" + len(body).to_bytes(8, "little") + body
        twice = "idA"
        prompt = self.hashed(IDS, Span(twice, 3, 2), Span(twice, 7, 2))
        self.assertEqual(hashlib.sha256(written).hexdigest(), prompt.hashes[0].hex())

    def test_same_texts(self) -> None:
        """An adapter whose path is its name has both hashed, as in vLLM."""
        name = b"\x8c\x04same\x94"
        root = bytes.fromhex("066b1e8987e027138e98701c46128929378935f9b6cd1549105ae6b4f0d71198")
        body = b"C\x20" + root + b"\x94(" + b"".join(b"K%c" % each for each in IDS[:16]) + b"t\x94"
        body += b"\x8c\x04lora\x94" + name + name + b"\x87\x94\x85\x94\x87\x94."
        written = b"\x80\x05\x95" + len(body).to_bytes(8, "little") + body
        self.assertEqual(hashlib.sha256(written).hexdigest(), self.hashed(model="same").hashes[0].hex())

    def test_separate(self) -> None:
        """With any algorithm, adapters, salts and media have blocks of their own, and equal requests the same."""
        for name in HASH_ALGORITHMS:
            hasher = self.hasher(block_hash(name, "", Random(1)))
            seen: list[bytes] = []
            for media in ((), (Span("a", 0, 1),)):
                for model in ("m", "ad1", "same"):
                    for salt in (None, "a", "b"):
                        request = asked(model=model, cache_salt=salt)
                        digests = [
                            self.successResultOf(
                                Deferred.fromCoroutine(hasher.hash(tokenized(IDS, *media), request))
                            ).hashes
                            for _ in range(2)
                        ]
                        self.assertEqual(digests[0], digests[1], name)
                        seen += digests[0]
            self.assertEqual(2 * 2 * 3 * 3, len(set(seen)), name)


class AnswerTests(HasherTestCase):
    """Blocks that answers fill."""

    def test_as_a_prompt(self) -> None:
        """A block that an answer fills is the one that a prompt of the same tokens has, whatever the algorithm."""
        media = (Span("a", 2, 4), Span("b", 17, 3))
        for name in HASH_ALGORITHMS:
            hasher = self.hasher(block_hash(name, "", Random(1)), size=4)
            for model in ("m", "ad1"):
                request = asked(model=model, cache_salt="s")
                for length in (3, 4, 6, 19, 20):
                    given = [span for span in media if span.offset + span.length <= length]
                    whole, part = (
                        self.successResultOf(Deferred.fromCoroutine(hasher.hash(tokenized(ids, *given), request)))
                        for ids in (IDS, IDS[:length])
                    )
                    hashes = list(part.hashes)
                    keys = list(part.keys)
                    for number in range(len(hashes), 10):
                        ids = IDS[number * 4 : number * 4 + 4]
                        keys.append(hasher.keys_of(part, number))
                        hashes.append(hasher.extend(part, number, hashes[-1] if hashes else None, ids))
                    self.assertEqual((whole.hashes, whole.keys), (hashes, keys), (name, length))


class TurnTests(HasherTestCase):
    """Long prompts."""

    def test_slices(self) -> None:
        """A long prompt is hashed in slices, between which others are let in, and comes out whole."""
        slow = SlowHash(self.clock)
        hashing = Deferred.fromCoroutine(self.hasher(slow, 256).hash(tokenized(range(256 * 25 + 3)), request_for("x")))
        slices = [len(slow.asked)]
        while not hashing.called:
            self.clock.turn()
            slices.append(len(slow.asked) - sum(slices))
        self.assertEqual([10, 10, 5], slices)
        prompt = self.successResultOf(hashing)
        self.assertEqual([b"%d" % (number + 1) for number in range(25)], prompt.hashes)
        self.assertEqual([b"m", *prompt.hashes[:-1]], [parent for parent, _, _ in slow.asked])
        self.assertEqual(list(range(256 * 25)), [each for _, ids, _ in slow.asked for each in ids])

    def test_many(self) -> None:
        """Many short prompts do not hold the reactor for longer either."""
        slow = SlowHash(self.clock)
        hasher = self.hasher(slow)
        hashing = [Deferred.fromCoroutine(hasher.hash(tokenized(range(16)), request_for("x"))) for _ in range(25)]
        self.assertEqual(10, len(slow.asked))
        self.clock.turn()
        self.assertEqual(20, len(slow.asked))
        self.clock.turn()
        for each in hashing:
            self.successResultOf(each)

    def test_cancel(self) -> None:
        """A request that is cancelled is hashed no further."""
        slow = SlowHash(self.clock)
        hashing = Deferred.fromCoroutine(self.hasher(slow, 256).hash(tokenized(range(9999)), request_for("x")))
        hashing.cancel()
        self.failureResultOf(hashing, CancelledError)
        self.assertEqual(10, len(slow.asked))

    def test_a_million(self) -> None:
        """A million tokens are hashed like a few."""
        prompt = self.hashed(range(1 << 20), Span("a", 5, 1 << 19))
        self.assertEqual(1 << 16, len(prompt.hashes))
        self.assertEqual([("a", 5)], list(prompt.keys[0] or ()))
        self.assertIsNone(prompt.keys[-1])
